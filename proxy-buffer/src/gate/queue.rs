//! A FIFO from whose middle a waiter can leave, every operation in O(1).

use crate::time::Timestamp;

/// Names one waiter of one queue; stays unique after the waiter has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaiterId {
    slot: usize,
    ticket: u64,
}

/// One waiter and what it holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Held<W> {
    pub(crate) waiter: W,
    pub(crate) since: Timestamp,
    pub(crate) bytes: usize,
}

#[derive(Debug)]
struct Slot<W> {
    ticket: u64,
    prev: Option<usize>,
    /// The next waiter; of a vacant slot, the next vacant one.
    next: Option<usize>,
    held: Option<Held<W>>,
}

/// A doubly linked list in a slab. Without waiters it owns no heap memory.
#[derive(Debug)]
pub(crate) struct HoldQueue<W> {
    slots: Vec<Slot<W>>,
    first: Option<usize>,
    last: Option<usize>,
    vacant: Option<usize>,
    len: usize,
    bytes: usize,
    next_ticket: u64,
}

impl<W> HoldQueue<W> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            first: None,
            last: None,
            vacant: None,
            len: 0,
            bytes: 0,
            next_ticket: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn front(&self) -> Option<&Held<W>> {
        self.slots.get(self.first?)?.held.as_ref()
    }

    pub(crate) fn push(&mut self, held: Held<W>) -> WaiterId {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.len += 1;
        self.bytes += held.bytes;
        let occupied = Slot {
            ticket,
            prev: self.last,
            next: None,
            held: Some(held),
        };
        let slot = match self.vacant {
            Some(slot) => {
                self.vacant = std::mem::replace(self.slot(slot), occupied).next;
                slot
            }
            None => {
                self.slots.push(occupied);
                self.slots.len() - 1
            }
        };
        match self.last {
            Some(last) => self.slot(last).next = Some(slot),
            None => self.first = Some(slot),
        }
        self.last = Some(slot);
        WaiterId { slot, ticket }
    }

    pub(crate) fn pop(&mut self) -> Option<Held<W>> {
        let slot = self.first?;
        self.unlink(slot)
    }

    /// Takes `id` out, unless it has left already.
    pub(crate) fn remove(&mut self, id: WaiterId) -> Option<Held<W>> {
        let slot = self.slots.get(id.slot)?;
        if slot.ticket != id.ticket || slot.held.is_none() {
            return None;
        }
        self.unlink(id.slot)
    }

    /// Adds bytes to what `id` holds; false if it has left already.
    pub(crate) fn grow(&mut self, id: WaiterId, bytes: usize) -> bool {
        let Some(slot) = self
            .slots
            .get_mut(id.slot)
            .filter(|slot| slot.ticket == id.ticket)
        else {
            return false;
        };
        let Some(held) = slot.held.as_mut() else {
            return false;
        };
        held.bytes += bytes;
        self.bytes += bytes;
        true
    }

    fn unlink(&mut self, index: usize) -> Option<Held<W>> {
        let vacant = self.vacant;
        let slot = self.slot(index);
        let held = slot.held.take()?;
        let (prev, next) = (slot.prev.take(), slot.next);
        slot.next = vacant;
        self.vacant = Some(index);
        match prev {
            Some(prev) => self.slot(prev).next = next,
            None => self.first = next,
        }
        match next {
            Some(next) => self.slot(next).prev = prev,
            None => self.last = prev,
        }
        self.len -= 1;
        self.bytes -= held.bytes;
        if self.len == 0 {
            self.slots = Vec::new();
            self.vacant = None;
        }
        Some(held)
    }

    fn slot(&mut self, index: usize) -> &mut Slot<W> {
        self.slots
            .get_mut(index)
            .expect("links only name slots of this slab, which shrinks only when none is linked")
    }
}
