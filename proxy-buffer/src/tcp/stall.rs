//! Ending connections on which nothing gets on, and exchanges of which no more comes.

use std::{
    future::Future,
    task::{Context, Poll},
};

use tokio::time::sleep_until;

use super::{
    session::{End, Session},
    talk::Talk,
};
use crate::{Activator, Party, Stream, time::Timestamp};

impl<A: Activator, C: Stream> Session<A, C> {
    /// Ends the session when a limit is over, and the exchange when a body pauses; sees to it that it is polled then. To be
    /// called when nothing moves.
    pub(super) fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        loop {
            let deadline = self.next_deadline();
            let shared = self.target.shared();
            if let Some(deadline) = deadline {
                let at = shared.clock.deadline(deadline);
                let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(at)));
                // One that rings too early is left as it is: most deadlines are put off again and again.
                if alarm.deadline() > at || alarm.is_elapsed() {
                    alarm.as_mut().reset(at);
                }
            }
            let Some(alarm) = &mut self.alarm else {
                return Ok(());
            };
            if alarm.as_mut().poll(cx) == Poll::Pending {
                return Ok(());
            }
            if let Talk::Http1(talk) = &self.talk
                && let Some(why) = talk.late(shared.clock.now(), &shared.limits)
            {
                let idle = talk.is_idle() && self.down.is_empty();
                let end = self.refusal(why);
                // Who has asked for nothing needs no answer.
                return Err(if idle { End::Close } else { end });
            }
            if deadline.is_none() {
                self.alarm = None;
            }
        }
    }

    /// When to look again, unless something moves before.
    fn next_deadline(&mut self) -> Option<Timestamp> {
        let stuck = match (self.down.is_empty(), self.up.is_empty()) {
            (false, _) => Some(Party::Client),
            (true, false) => Some(Party::Target),
            (true, true) => None,
        };
        let Talk::Http1(talk) = &mut self.talk else {
            self.alarm = None;
            return None;
        };
        let now = self.target.now();
        talk.moved(now, stuck);
        let limit = talk.deadline(&self.target.shared().limits);
        let pause = talk.flows_until().filter(|_| self.exchange.is_some());
        if pause.is_some_and(|pause| pause <= now) {
            self.settle();
            return limit;
        }
        limit.into_iter().chain(pause).min()
    }
}
