use alloc::collections::BTreeSet;

use crate::ids::{InstanceId, ServiceId};
use crate::time::Timestamp;

/// Whose timer it is. Each owner has at most one, and remembers when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKey {
    /// Start timeout while the instance starts, its next step down the ladder while it is idle or sleeps.
    Instance(ServiceId, InstanceId),
    /// End of the pause after a failed start.
    Backoff(ServiceId),
    /// Somebody is expected.
    Prewake(ServiceId),
    /// The count of instances is to be computed.
    Scale(ServiceId),
    /// The request that waits longest has waited long enough.
    Wait(ServiceId),
    /// A start that waits, or something that is to be moved to disk, may go on.
    Gate,
}

impl TimerKey {
    /// `None` for what concerns all.
    pub(crate) fn service(self) -> Option<ServiceId> {
        match self {
            Self::Instance(service, _)
            | Self::Backoff(service)
            | Self::Prewake(service)
            | Self::Scale(service)
            | Self::Wait(service) => Some(service),
            Self::Gate => None,
        }
    }
}

/// Deadlines in the order they are due; equal ones in the order of their keys. Every operation is O(log n), and a
/// timer that is moved or cleared leaves nothing behind.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Timestamp, TimerKey)>,
}

impl Timers {
    /// Moves the timer of `key`, whose owner remembers it in `slot`, to `at`.
    pub(crate) fn set(&mut self, key: TimerKey, slot: &mut Option<Timestamp>, at: Option<Timestamp>) {
        if *slot == at {
            return;
        }
        if let Some(old) = *slot {
            self.due.remove(&(old, key));
        }
        if let Some(new) = at {
            self.due.insert((new, key));
        }
        *slot = at;
    }

    /// Takes the first timer that is due; its owner must forget it.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<TimerKey> {
        let (at, key) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.due.remove(&(at, key));
        Some(key)
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }

    pub(crate) fn contains(&self, key: TimerKey, at: Timestamp) -> bool {
        self.due.contains(&(at, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TimerKey = TimerKey::Backoff(ServiceId(1));
    const B: TimerKey = TimerKey::Wait(ServiceId(1));

    fn ms(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_moved_timer_leaves_nothing_behind() {
        let mut timers = Timers::default();
        let mut slot = None;
        timers.set(A, &mut slot, Some(ms(1)));
        timers.set(A, &mut slot, Some(ms(5)));
        assert_eq!((timers.len(), timers.next(), slot), (1, Some(ms(5)), Some(ms(5))));
        timers.set(A, &mut slot, None);
        assert_eq!((timers.len(), slot), (0, None));
    }

    #[test]
    fn due_timers_come_in_time_order_and_not_before() {
        let mut timers = Timers::default();
        timers.set(A, &mut None, Some(ms(2)));
        timers.set(B, &mut None, Some(ms(1)));
        assert_eq!(timers.pop_due(ms(0)), None);
        assert_eq!(timers.pop_due(ms(2)), Some(B));
        assert_eq!(timers.pop_due(ms(2)), Some(A));
    }
}
