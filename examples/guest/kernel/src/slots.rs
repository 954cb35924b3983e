//! Which connections there are, and which of them must make room for a new one.

use alloc::vec::Vec;

use smoltcp::time::Instant;

use crate::REQUEST_PATIENCE_NS;

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing: no request has begun, and every reply has reached the peer.
    Settled,
    /// The rest of a request.
    Request,
    /// That the peer takes what there is to be sent.
    Peer,
}

/// One connection, or room for one.
#[derive(Debug, Clone, Copy)]
struct Slot {
    peer: Option<u64>,
    due: Option<Instant>,
    waiting: Waiting,
    /// When something last came of the connection.
    active_ns: u64,
}

const EMPTY: Slot = Slot {
    peer: None,
    due: None,
    waiting: Waiting::Settled,
    active_ns: 0,
};

/// The table of connections; kept apart from their sockets for being looked through. Times in nanoseconds are of a
/// clock that never goes back.
#[derive(Debug, Default)]
pub struct Slots(Vec<Slot>);

impl Slots {
    /// A table without room.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds room for one connection, if there is memory; answers its index.
    pub fn grow(&mut self) -> Option<usize> {
        self.0.try_reserve(1).ok()?;
        self.0.push(EMPTY);
        Some(self.0.len() - 1)
    }

    /// Number of connections there is room for.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no room at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The connection with `peer`.
    pub fn find(&self, peer: u64) -> Option<usize> {
        self.0.iter().position(|slot| slot.peer == Some(peer))
    }

    /// A connection with `peer` begins.
    pub fn open(&mut self, index: usize, peer: u64, now_ns: u64) {
        if let Some(slot) = self.0.get_mut(index) {
            *slot = Slot {
                peer: Some(peer),
                active_ns: now_ns,
                ..EMPTY
            };
        }
    }

    /// The connection is over.
    pub fn close(&mut self, index: usize) {
        if let Some(slot) = self.0.get_mut(index) {
            *slot = EMPTY;
        }
    }

    /// How a connection is doing: what it waits for now, whether it has come further, and when it needs attention.
    pub fn note(
        &mut self,
        index: usize,
        waiting: Waiting,
        progress: bool,
        now_ns: u64,
        due: Option<Instant>,
    ) {
        if let Some(slot) = self.0.get_mut(index) {
            if progress || waiting != slot.waiting {
                slot.active_ns = now_ns;
            }
            slot.waiting = waiting;
            slot.due = due;
        }
    }

    /// The connections that need attention by now.
    pub fn due(&self, now: Instant) -> impl Iterator<Item = usize> {
        let slots = self.0.iter().enumerate();
        slots.filter_map(move |(index, slot)| slot.due.is_some_and(|due| due <= now).then_some(index))
    }

    /// When the next connection needs attention.
    pub fn next_due(&self) -> Option<Instant> {
        self.0.iter().filter_map(|slot| slot.due).min()
    }

    /// The connection that should end before there is need: the client has been silent for long, longest of all.
    /// Connections in `busy` are not looked at.
    pub fn stale(&self, now_ns: u64, busy: &[usize]) -> Option<usize> {
        self.oldest(busy, |slot| {
            slot.waiting != Waiting::Peer && slot.is_stale(now_ns)
        })
    }

    /// The connection that must end for a new one when there is no more room: the one that has been settled longest,
    /// or has been stuck even longer. None if each is being dealt with, such as those in `busy`.
    pub fn dispensable(&self, now_ns: u64, busy: &[usize]) -> Option<usize> {
        self.oldest(busy, |slot| {
            slot.waiting == Waiting::Settled || slot.is_stale(now_ns)
        })
    }

    fn oldest(&self, busy: &[usize], may: impl Fn(&Slot) -> bool) -> Option<usize> {
        let slots = self.0.iter().enumerate();
        let candidates =
            slots.filter(|(index, slot)| slot.peer.is_some() && may(slot) && !busy.contains(index));
        candidates
            .min_by_key(|(_, slot)| slot.active_ns)
            .map(|(index, _)| index)
    }
}

impl Slot {
    fn is_stale(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.active_ns) >= REQUEST_PATIENCE_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Waiting::{Peer, Request, Settled};

    const PATIENCE: u64 = REQUEST_PATIENCE_NS;

    /// Connections that wait so since these times.
    fn slots(connections: &[(Waiting, u64)]) -> Slots {
        let mut slots = Slots::new();
        for (peer, &(waiting, since_ns)) in (1..).zip(connections) {
            let index = slots.grow().unwrap();
            slots.open(index, peer, since_ns);
            slots.note(index, waiting, true, since_ns, None);
        }
        slots
    }

    #[test]
    fn the_longest_settled_connection_gives_way() {
        let slots = slots(&[(Settled, 5), (Request, 1), (Settled, 3), (Peer, 2)]);
        assert_eq!(slots.dispensable(6, &[]), Some(2));
        assert_eq!(slots.dispensable(6, &[2]), Some(0));
        assert_eq!(
            slots.dispensable(6, &[2, 0]),
            None,
            "the others are being dealt with"
        );
    }

    #[test]
    fn what_is_stuck_gives_way_after_its_time() {
        let slots = slots(&[(Settled, 5), (Request, 1), (Peer, 2)]);
        assert_eq!(slots.dispensable(PATIENCE, &[]), Some(0));
        assert_eq!(slots.dispensable(PATIENCE + 1, &[]), Some(1));
        assert_eq!(slots.dispensable(PATIENCE + 2, &[0, 1]), Some(2));
    }

    #[test]
    fn silent_clients_are_stale_after_their_time() {
        let slots = slots(&[(Settled, 5), (Request, 1), (Peer, 0)]);
        assert_eq!(slots.stale(PATIENCE, &[]), None);
        assert_eq!(slots.stale(PATIENCE + 1, &[]), Some(1));
        assert_eq!(
            slots.stale(PATIENCE + 5, &[1]),
            Some(0),
            "one that owes us nothing is silent as well"
        );
        assert_eq!(
            slots.stale(PATIENCE + 5, &[1, 0]),
            None,
            "we owe the last one an answer"
        );
    }

    #[test]
    fn only_progress_keeps_a_connection_young() {
        let mut slots = slots(&[(Settled, 1), (Settled, 2)]);
        slots.note(0, Settled, false, 9, None);
        assert_eq!(slots.dispensable(9, &[]), Some(0));
        slots.note(0, Settled, true, 9, None);
        assert_eq!(slots.dispensable(9, &[]), Some(1));
        // A request that begins now has all its time, and none is won by more of the same.
        slots.note(1, Request, false, 10, None);
        slots.note(1, Request, false, PATIENCE, None);
        assert_eq!(slots.stale(PATIENCE + 8, &[]), None);
        assert_eq!(slots.stale(PATIENCE + 10, &[0]), Some(1));
    }

    #[test]
    fn room_is_no_connection() {
        let mut slots = slots(&[(Settled, 1), (Settled, 2)]);
        slots.close(0);
        assert_eq!((slots.find(1), slots.find(2)), (None, Some(1)));
        assert_eq!(slots.dispensable(9, &[]), Some(1));
        slots.close(1);
        assert_eq!(
            (
                slots.dispensable(PATIENCE * 2, &[]),
                slots.stale(PATIENCE * 2, &[])
            ),
            (None, None)
        );
        assert_eq!(slots.len(), 2);
    }

    #[test]
    fn the_first_to_be_due_comes_first() {
        let mut slots = slots(&[(Settled, 1), (Peer, 1), (Peer, 1)]);
        let at = Instant::from_micros;
        slots.note(1, Peer, false, 2, Some(at(20)));
        slots.note(2, Peer, false, 2, Some(at(10)));
        assert_eq!(slots.next_due(), Some(at(10)));
        assert_eq!(slots.due(at(9)).count(), 0);
        assert!(slots.due(at(20)).eq([1, 2]));
    }
}
