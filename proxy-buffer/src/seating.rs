//! Who has a seat, and who of those can be asked to leave: the ones that rest, longest first. Pure, every operation in O(1).

use std::task::Waker;

use crate::{LimitScope, Limits, time::Timestamp};

/// Names a row or a seat for as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

/// The node that holds the ends of the proxy's ring.
const PROXY: Place = Place(0);

/// The seats of a proxy, in one row for each target. Those that rest form two rings, the longest at rest first: one for the
/// whole proxy, and one for each row. All of them share one slab, which keeps the size that it once had.
#[derive(Debug)]
pub(crate) struct Seating {
    nodes: Vec<Node>,
    vacant: Option<Place>,
}

#[derive(Debug)]
struct Node {
    all: Links,
    own: Links,
    /// Of a seat: since when it rests. Of a row, or the proxy: when it last gave out a seat.
    since: Timestamp,
    /// Wakes the one who sits here. Kept while it is busy, so that resting again costs nothing.
    waker: Option<Waker>,
    role: Role,
}

#[derive(Clone, Copy, Debug)]
struct Links {
    prev: Place,
    next: Place,
}

#[derive(Clone, Copy, Debug)]
enum Ring {
    /// Through the whole proxy.
    All,
    /// Through one row.
    Own,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Vacant,
    /// A row, or the whole proxy. A closed one goes with its last seat.
    Row {
        taken: u32,
        /// Of those, the ones that were asked to leave.
        leaving: u32,
        closed: bool,
    },
    Seat {
        row: Place,
        state: State,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Busy,
    Resting,
    /// It was asked to leave.
    Leaving,
}

/// What becomes of a newcomer.
#[derive(Debug)]
pub(crate) enum Claim {
    Granted(Place),
    /// All are taken. The one that has rested for longest is asked to leave: wake it.
    Asked(Option<Waker>),
    /// All are taken, and the one that has rested for longest may not be asked before `until`.
    Spared {
        until: Timestamp,
    },
    /// All are taken, and nobody rests.
    Full {
        scope: LimitScope,
        limit: usize,
        /// When a seat was last given out.
        since: Timestamp,
    },
}

/// The seat has been given away: whoever sits there is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leave;

impl Seating {
    pub(crate) fn new() -> Self {
        let mut seating = Self {
            nodes: Vec::new(),
            vacant: None,
        };
        let proxy = seating.open_row();
        debug_assert_eq!(proxy, PROXY);
        seating
    }

    pub(crate) fn open_row(&mut self) -> Place {
        self.occupy(Role::Row {
            taken: 0,
            leaving: 0,
            closed: false,
        })
    }

    /// The row goes with the last of its seats.
    pub(crate) fn close_row(&mut self, row: Place) {
        if let Role::Row { closed, .. } = &mut self.node(row).role {
            *closed = true;
        }
        self.vacate_row(row);
    }

    /// Asks for a seat in `row`. When all are taken, somebody may have to leave; but not for a newcomer that `has_asked` as
    /// long as anybody is about to.
    pub(crate) fn claim(&mut self, row: Place, now: Timestamp, limits: &Limits, has_asked: bool) -> Claim {
        let Some((scope, limit)) = self.full(row, limits) else {
            for of in [row, PROXY] {
                self.count(of, 1);
                self.node(of).since = now;
            }
            let state = State::Busy;
            return Claim::Granted(self.occupy(Role::Seat { row, state }));
        };
        let (of, ring) = match scope {
            LimitScope::Target => (row, Ring::Own),
            LimitScope::Proxy => (PROXY, Ring::All),
        };
        if has_asked && self.leaving(of) > 0 {
            return Claim::Asked(None);
        }
        let longest = self.links(of, ring).next;
        if longest == of {
            let since = self.node(of).since;
            return Claim::Full { scope, limit, since };
        }
        let until = self.node(longest).since.after(limits.silence_time);
        if until > now {
            return Claim::Spared { until };
        }
        self.unlink(longest);
        self.set_state(longest, State::Leaving);
        self.count_leaving(longest, 1);
        Claim::Asked(self.node(longest).waker.clone())
    }

    /// The limit that is reached.
    pub(crate) fn full(&mut self, row: Place, limits: &Limits) -> Option<(LimitScope, usize)> {
        let limits = [
            (row, LimitScope::Target, limits.connections_per_target),
            (PROXY, LimitScope::Proxy, limits.connections_total),
        ];
        let full = limits
            .into_iter()
            .find(|(of, _, limit)| self.taken(*of) >= *limit)?;
        Some((full.1, full.2))
    }

    /// Nothing is under way. True if it is the first to rest since all were busy: it may be of interest to newcomers.
    pub(crate) fn rest(&mut self, seat: Place, now: Timestamp, waker: &Waker) -> Result<bool, Leave> {
        let node = self.node(seat);
        let Role::Seat { row, state } = node.role else {
            return Ok(false);
        };
        if state == State::Leaving {
            return Err(Leave);
        }
        if !node.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            node.waker = Some(waker.clone());
        }
        if state == State::Resting {
            return Ok(false);
        }
        node.since = now;
        self.set_state(seat, State::Resting);
        let first_of_row = self.push(row, seat, Ring::Own);
        let first_of_all = self.push(PROXY, seat, Ring::All);
        Ok(first_of_row || first_of_all)
    }

    /// Something is under way.
    pub(crate) fn stir(&mut self, seat: Place) -> Result<(), Leave> {
        match self.node(seat).role {
            Role::Seat {
                state: State::Leaving,
                ..
            } => Err(Leave),
            Role::Seat {
                state: State::Resting,
                ..
            } => {
                self.unlink(seat);
                self.set_state(seat, State::Busy);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Gives the seat back. Its waker is returned, to be dropped without the lock.
    pub(crate) fn release(&mut self, seat: Place) -> Option<Waker> {
        let Role::Seat { row, .. } = self.node(seat).role else {
            return None;
        };
        self.unlink(seat);
        self.count_leaving(seat, -1);
        let waker = self.node(seat).waker.take();
        self.vacate(seat);
        for of in [row, PROXY] {
            self.count(of, -1);
        }
        self.vacate_row(row);
        waker
    }

    fn taken(&mut self, row: Place) -> usize {
        match self.node(row).role {
            Role::Row { taken, .. } => usize::try_from(taken).unwrap_or(usize::MAX),
            _ => 0,
        }
    }

    fn count(&mut self, row: Place, by: i32) {
        if let Role::Row { taken, .. } = &mut self.node(row).role {
            *taken = taken.saturating_add_signed(by);
        }
    }

    fn leaving(&mut self, row: Place) -> u32 {
        match self.node(row).role {
            Role::Row { leaving, .. } => leaving,
            _ => 0,
        }
    }

    /// Counts `seat` if it is leaving.
    fn count_leaving(&mut self, seat: Place, by: i32) {
        let Role::Seat {
            row,
            state: State::Leaving,
        } = self.node(seat).role
        else {
            return;
        };
        for of in [row, PROXY] {
            if let Role::Row { leaving, .. } = &mut self.node(of).role {
                *leaving = leaving.saturating_add_signed(by);
            }
        }
    }

    fn set_state(&mut self, seat: Place, to: State) {
        if let Role::Seat { state, .. } = &mut self.node(seat).role {
            *state = to;
        }
    }

    fn occupy(&mut self, role: Role) -> Place {
        let place = match self.vacant {
            Some(place) => place,
            None => Place(
                u32::try_from(self.nodes.len()).expect("connections are descriptors, and fewer than 2^32"),
            ),
        };
        let alone = Links {
            prev: place,
            next: place,
        };
        let node = Node {
            all: alone,
            own: alone,
            since: Timestamp::default(),
            waker: None,
            role,
        };
        if self.vacant.is_some() {
            let before = std::mem::replace(self.node(place), node);
            self.vacant = (before.all.next != place).then_some(before.all.next);
        } else {
            self.nodes.push(node);
        }
        place
    }

    fn vacate(&mut self, place: Place) {
        let next = self.vacant.unwrap_or(place);
        let node = self.node(place);
        node.role = Role::Vacant;
        node.all.next = next;
        self.vacant = Some(place);
    }

    fn vacate_row(&mut self, row: Place) {
        let empty = Role::Row {
            taken: 0,
            leaving: 0,
            closed: true,
        };
        if self.node(row).role == empty {
            self.vacate(row);
        }
    }

    /// Puts `seat` last into the ring of `row`; true if it is the only one.
    fn push(&mut self, row: Place, seat: Place, ring: Ring) -> bool {
        let last = std::mem::replace(&mut self.links(row, ring).prev, seat);
        self.links(last, ring).next = seat;
        *self.links(seat, ring) = Links {
            prev: last,
            next: row,
        };
        last == row
    }

    /// Takes `seat` out of both rings; without effect if it is in none.
    fn unlink(&mut self, seat: Place) {
        for ring in [Ring::All, Ring::Own] {
            let alone = Links {
                prev: seat,
                next: seat,
            };
            let Links { prev, next } = std::mem::replace(self.links(seat, ring), alone);
            self.links(prev, ring).next = next;
            self.links(next, ring).prev = prev;
        }
    }

    fn links(&mut self, place: Place, ring: Ring) -> &mut Links {
        let node = self.node(place);
        match ring {
            Ring::All => &mut node.all,
            Ring::Own => &mut node.own,
        }
    }

    fn node(&mut self, Place(index): Place) -> &mut Node {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.nodes.get_mut(index))
            .expect("places only name nodes of this slab, which never shrinks")
    }
}

#[cfg(test)]
mod tests;
