use core::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::event::Event;
use crate::ids::{Epoch, InstanceId, RequestId};

/// What is to happen in the simulated world, in the order of time; at the same time in the order planned.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<Entry>>,
    planned: u64,
}

#[derive(Debug)]
struct Entry {
    at_ns: u64,
    turn: u64,
    what: What,
}

/// Something that happens later.
#[derive(Debug)]
pub(super) enum What {
    /// The scheduler is told.
    Tell(Event),
    /// An instance has started, parked or ended, if it still is in this epoch.
    Progress(usize, InstanceId, Epoch),
    /// A request has been worked on, if it still is on this instance.
    Served(usize, InstanceId, RequestId),
    /// All services are looked at and told as they are.
    TakeInventory,
}

impl Agenda {
    pub(super) fn plan(&mut self, at_ns: u64, what: What) {
        let turn = self.planned;
        self.planned += 1;
        self.heap.push(Reverse(Entry { at_ns, turn, what }));
    }

    pub(super) fn next_ns(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(entry)| entry.at_ns)
    }

    pub(super) fn pop(&mut self) -> Option<What> {
        self.heap.pop().map(|Reverse(entry)| entry.what)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.at_ns, self.turn).cmp(&(other.at_ns, other.turn))
    }
}
