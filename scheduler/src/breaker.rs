use core::time::Duration;

use crate::ids::InstanceId;
use crate::time::Timestamp;

/// Keeps off a way to start instances that fails again and again: closed, it is used; open, it is not; half open, once
/// the pause is over, one instance tries it, and what becomes of that closes or opens it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Breaker {
    /// In a row.
    failures: u32,
    /// Set unless it is closed.
    open_until: Option<Timestamp>,
    /// The one that tries.
    probe: Option<InstanceId>,
}

impl Breaker {
    /// Failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether an instance may be started this way.
    pub(crate) fn allows(&self, now: Timestamp) -> bool {
        self.open_until
            .is_none_or(|until| until <= now && self.probe.is_none())
    }

    /// An instance is started this way.
    pub(crate) fn tries(&mut self, instance: InstanceId) {
        if self.open_until.is_some() {
            self.probe = Some(instance);
        }
    }

    /// It failed; from so many in a row on nobody tries for a while.
    pub(crate) fn failed(&mut self, most: u32, pause: Duration, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        self.probe = None;
        if self.failures >= most {
            self.open_until = Some(now + pause);
        }
    }

    /// The one that tried ended without it being known whether the way is at fault.
    pub(crate) fn forget(&mut self, instance: InstanceId) {
        self.probe.take_if(|probe| *probe == instance);
    }

    /// When it is half open; `None` while it is closed.
    pub(crate) fn open_until(&self) -> Option<Timestamp> {
        self.open_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(10);

    fn ms(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn it_opens_after_so_many_failures_and_lets_one_try_after_the_pause() {
        let mut breaker = Breaker::default();
        breaker.failed(2, PAUSE, ms(0));
        assert!(breaker.open_until().is_none() && breaker.allows(ms(0)));
        breaker.failed(2, PAUSE, ms(0));
        assert!(!breaker.allows(ms(9)));
        assert!(breaker.allows(ms(10)));
        breaker.tries(InstanceId(1));
        assert!(!breaker.allows(ms(10)), "one is enough to find out");
        breaker.failed(2, PAUSE * 2, ms(11));
        assert!(!breaker.allows(ms(30)) && breaker.allows(ms(31)));
        assert_eq!(breaker.failures(), 3);
    }

    #[test]
    fn a_probe_that_ends_otherwise_lets_the_next_one_try() {
        let mut breaker = Breaker::default();
        breaker.failed(1, PAUSE, ms(0));
        breaker.tries(InstanceId(1));
        breaker.forget(InstanceId(2));
        assert!(!breaker.allows(ms(10)));
        breaker.forget(InstanceId(1));
        assert!(breaker.allows(ms(10)));
    }
}
