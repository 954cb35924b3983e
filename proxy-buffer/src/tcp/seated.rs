//! Making room for others.

use std::task::Context;

use super::session::{End, Session};
use crate::{Activator, Observer, Stream, seating::Leave};

impl<A: Activator, C: Stream> Session<A, C> {
    /// Nothing moves.
    pub(super) fn halt(&mut self, cx: &Context<'_>) -> Result<(), End> {
        match self.talk.may_make_room() && self.down.is_empty() && self.up.is_empty() {
            true => self.rest(cx),
            false => self.stir(),
        }
    }

    /// Nothing is under way: others may have this one's place.
    pub(super) fn rest(&mut self, cx: &Context<'_>) -> Result<(), End> {
        let left = self.seat.as_mut().map_or(Ok(()), |seat| seat.rest(cx.waker()));
        left.map_err(|Leave| self.make_room())
    }

    /// Something is under way.
    pub(super) fn stir(&mut self) -> Result<(), End> {
        let left = self.seat.as_mut().map_or(Ok(()), |seat| seat.stir());
        left.map_err(|Leave| self.make_room())
    }

    fn make_room(&self) -> End {
        let shared = self.target.shared();
        shared
            .observer
            .tell(|observer: &dyn Observer<A::Key>| observer.made_room(self.target.key()));
        // Without a farewell: somebody waits.
        End::Done
    }
}
