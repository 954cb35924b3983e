use alloc::vec::Vec;
use core::num::NonZeroU32;

use crate::ids::{InstanceId, ServiceId};
use crate::registry::Slot;
use crate::time::Timestamp;

/// Children of a node of the heap: four fit in one line of a cache.
const ARITY: usize = 4;

/// Whose timer it is. Each owner has at most one, and remembers when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKey {
    /// Start timeout while the instance starts, its next step down the ladder while it is idle or sleeps.
    Instance(ServiceId, Slot, InstanceId),
    /// End of the pause after a failed start.
    Backoff(ServiceId, Slot),
    /// Somebody is expected.
    Prewake(ServiceId, Slot),
    /// The count of instances is to be computed.
    Scale(ServiceId, Slot),
    /// The request that waits longest has waited long enough.
    Wait(ServiceId, Slot),
    /// A start that waits, or something that is to be moved to disk, may go on.
    Gate,
}

impl TimerKey {
    /// The service, and where it is; `None` for what concerns all.
    pub(crate) fn service(self) -> Option<(ServiceId, Slot)> {
        match self {
            Self::Instance(id, slot, _)
            | Self::Backoff(id, slot)
            | Self::Prewake(id, slot)
            | Self::Scale(id, slot)
            | Self::Wait(id, slot) => Some((id, slot)),
            Self::Gate => None,
        }
    }
}

/// A timer that is armed: what its owner remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timer {
    pub(crate) at: Timestamp,
    name: Name,
}

/// Names an armed timer; given again once it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name(NonZeroU32);

/// Deadlines in the order they are due; equal ones in the order of their keys. A heap of four children a node
/// (Johnson 1975) that knows where each timer is: every operation is O(log n), arming what is due last O(1), and a timer
/// that is moved or cleared leaves nothing behind.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: Vec<Due>,
    named: Vec<Armed>,
    free: Vec<Name>,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    at: Timestamp,
    name: Name,
}

#[derive(Clone, Copy, Debug)]
struct Armed {
    key: TimerKey,
    /// Where in the heap.
    place: usize,
}

impl Timers {
    /// Moves the timer of `key`, whose owner remembers it in `slot`, to `at`.
    pub(crate) fn set(&mut self, key: TimerKey, slot: &mut Option<Timer>, at: Option<Timestamp>) {
        let armed = slot.filter(|timer| self.is_armed(key, *timer));
        *slot = match (armed, at) {
            (Some(timer), Some(at)) if timer.at == at => return,
            (Some(Timer { name, .. }), Some(at)) => {
                let place = self.named[name.index()].place;
                self.heap[place].at = at;
                self.settle(place);
                Some(Timer { at, name })
            }
            (Some(timer), None) => {
                self.remove(timer.name);
                None
            }
            (None, Some(at)) => Some(self.insert(key, at)),
            (None, None) => None,
        };
    }

    /// Takes the first timer that is due; its owner must forget it.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<TimerKey> {
        let first = *self.heap.first().filter(|due| due.at <= now)?;
        Some(self.remove(first.name))
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.heap.first().map(|due| due.at)
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether the owner of `key` remembers rightly.
    pub(crate) fn is_armed(&self, key: TimerKey, timer: Timer) -> bool {
        let armed = self.named.get(timer.name.index());
        armed.is_some_and(|armed| {
            let due = self.heap.get(armed.place);
            armed.key == key && due.is_some_and(|due| due.name == timer.name && due.at == timer.at)
        })
    }

    fn insert(&mut self, key: TimerKey, at: Timestamp) -> Timer {
        let place = self.heap.len();
        let armed = Armed { key, place };
        let name = match self.free.pop() {
            Some(name) => {
                self.named[name.index()] = armed;
                name
            }
            None => {
                self.named.push(armed);
                Name::of(self.named.len())
            }
        };
        self.heap.push(Due { at, name });
        self.rise(place);
        Timer { at, name }
    }

    fn remove(&mut self, name: Name) -> TimerKey {
        let Armed { key, place } = self.named[name.index()];
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.settle(place);
        }
        self.free.push(name);
        key
    }

    fn is_before(&self, one: Due, other: Due) -> bool {
        let key = |due: Due| self.named[due.name.index()].key;
        one.at < other.at || (one.at == other.at && key(one) < key(other))
    }

    fn put(&mut self, place: usize, due: Due) {
        self.heap[place] = due;
        self.named[due.name.index()].place = place;
    }

    /// Restores the order after a change of what is at `place`.
    fn settle(&mut self, place: usize) {
        if self.rise(place) == place {
            self.sink(place);
        }
    }

    fn rise(&mut self, mut place: usize) -> usize {
        let due = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / ARITY;
            if !self.is_before(due, self.heap[parent]) {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, due);
        place
    }

    fn sink(&mut self, mut place: usize) {
        let due = self.heap[place];
        loop {
            let children = place * ARITY + 1..(place * ARITY + 1 + ARITY).min(self.heap.len());
            let earlier = |one, other| {
                if self.is_before(self.heap[other], self.heap[one]) {
                    other
                } else {
                    one
                }
            };
            let Some(first) = children.reduce(earlier) else {
                break;
            };
            if !self.is_before(self.heap[first], due) {
                break;
            }
            self.put(place, self.heap[first]);
            place = first;
        }
        self.put(place, due);
    }
}

impl Name {
    fn of(number: usize) -> Self {
        let number = u32::try_from(number).ok().and_then(NonZeroU32::new);
        Self(number.expect("a timer takes more memory than 2³² of them could have"))
    }

    fn index(self) -> usize {
        usize::try_from(self.0.get() - 1).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn key(number: u64) -> TimerKey {
        TimerKey::Wait(ServiceId(number), Slot::FIRST)
    }

    fn ms(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_moved_timer_leaves_nothing_behind() {
        let mut timers = Timers::default();
        let mut slot = None;
        timers.set(key(1), &mut slot, Some(ms(1)));
        timers.set(key(1), &mut slot, Some(ms(5)));
        assert_eq!((timers.len(), timers.next()), (1, Some(ms(5))));
        timers.set(key(1), &mut slot, None);
        assert_eq!((timers.len(), slot), (0, None));
    }

    #[test]
    fn who_forgot_to_forget_a_timer_that_went_off_moves_no_other() {
        let mut timers = Timers::default();
        let (mut stale, mut other) = (None, None);
        timers.set(key(1), &mut stale, Some(ms(1)));
        assert_eq!(timers.pop_due(ms(1)), Some(key(1)));
        timers.set(key(2), &mut other, Some(ms(1)));
        timers.set(key(1), &mut stale, None);
        assert_eq!(timers.next(), Some(ms(1)));
        timers.set(key(1), &mut other, Some(ms(9)));
        assert_eq!(timers.len(), 2, "a timer is its own key's");
    }

    proptest! {
        /// Against a sorted set, with times that are often equal.
        #[test]
        fn they_come_in_the_order_of_time_and_key_and_not_before(
            steps in prop::collection::vec((0..12u64, prop::option::of(0..6u64), 0..8u64), 1..200),
        ) {
            let (mut timers, mut model) = (Timers::default(), BTreeSet::new());
            let mut slots = [None; 12];
            for (number, at, now) in steps {
                let slot = &mut slots[usize::try_from(number).expect("small")];
                if let Some(Timer { at, .. }) = *slot {
                    model.remove(&(at, key(number)));
                }
                timers.set(key(number), slot, at.map(ms));
                model.extend(at.map(|at| (ms(at), key(number))));
                prop_assert_eq!(timers.next(), model.first().map(|(at, _)| *at));
                if now > 5 && let Some(key) = timers.pop_due(ms(now - 4)) {
                    prop_assert_eq!(model.pop_first().map(|(_, key)| key), Some(key));
                    let TimerKey::Wait(ServiceId(owner), _) = key else { panic!("another's key") };
                    slots[usize::try_from(owner).expect("small")] = None;
                }
                prop_assert_eq!(timers.len(), model.len());
            }
        }
    }
}
