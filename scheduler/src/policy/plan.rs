use core::time::Duration;

use crate::ids::{InstanceId, ServiceId};
use crate::ladder::Rung;
use crate::policy::Basis;
use crate::time::Timestamp;

const NEVER: Duration = Duration::MAX;

/// How an idle instance goes down the ladder while nobody comes, and whether one is to be awake at a time when
/// somebody is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// By rung, from [`Idle::since`](crate::Idle::since).
    after: [Duration; Rung::COUNT],
    prewake: Option<Prewake>,
    basis: Basis,
}

/// An instance is to be awake although nobody has asked for it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prewake {
    /// When it is started.
    pub at: Timestamp,
    /// How long from then it is kept awake for somebody to come.
    pub hold: Duration,
    /// The numbers behind it.
    pub basis: Rhythm,
}

/// What a periodic caller was found to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rhythm {
    /// From call to call, in microseconds.
    pub period_us: u64,
    /// How far calls stray from it, in microseconds.
    pub jitter_us: u32,
    /// Of a thousand expected calls, so many came when they were expected.
    pub hits_permille: u16,
}

impl Plan {
    /// Awake for ever. A policy of one's own gives [`Basis::Cooldown`].
    pub const fn stay(basis: Basis) -> Self {
        Self {
            after: [NEVER; Rung::COUNT],
            prewake: None,
            basis,
        }
    }

    /// And at `rung` after so much time; zero is at once, `Duration::MAX` never.
    #[must_use]
    pub const fn then(mut self, rung: Rung, after: Duration) -> Self {
        self.after[rung.index()] = after;
        self
    }

    /// And one instance awake then.
    #[must_use]
    pub const fn with_prewake(mut self, prewake: Option<Prewake>) -> Self {
        self.prewake = prewake;
        self
    }

    /// When the instance goes to `rung`; `None` if it never does.
    pub fn after(&self, rung: Rung) -> Option<Duration> {
        let after = self.after[rung.index()];
        (after != NEVER).then_some(after)
    }

    /// The next step for an instance that sleeps at `from`, or runs: the earliest one deeper; of those at the same
    /// time, the deepest.
    pub fn next(&self, from: Option<Rung>) -> Option<(Rung, Duration)> {
        let mut next: Option<(Rung, Duration)> = None;
        for rung in Rung::ALL.into_iter().filter(|rung| Some(*rung) > from) {
            match (self.after(rung), next) {
                (Some(after), Some((_, before))) if after > before => {}
                (Some(after), _) => next = Some((rung, after)),
                (None, _) => {}
            }
        }
        next
    }

    /// The deepest rung that is due once the instance was idle for so long.
    pub fn due(&self, from: Option<Rung>, idle: Duration) -> Option<Rung> {
        let mut deeper = Rung::ALL.into_iter().filter(|rung| Some(*rung) > from);
        deeper.rfind(|rung| self.after(*rung).is_some_and(|after| after <= idle))
    }

    /// Who is expected.
    pub const fn prewake(&self) -> Option<Prewake> {
        self.prewake
    }

    /// The numbers behind it.
    pub const fn basis(&self) -> Basis {
        self.basis
    }

    /// No step before so much time.
    pub(crate) fn not_before(&mut self, earliest: Duration) {
        for after in &mut self.after {
            *after = (*after).max(earliest);
        }
    }

    /// Every step after one of `parts` parts of its time.
    pub(crate) fn shorten(&mut self, parts: u32) {
        if parts == 1 {
            return;
        }
        for after in self.after.iter_mut().filter(|after| **after != NEVER) {
            *after /= parts;
        }
    }

    /// Every step so many thousandths of its time later.
    pub(crate) fn lengthen(&mut self, permille: u32) {
        if permille == 0 {
            return;
        }
        for after in self.after.iter_mut().filter(|after| **after != NEVER) {
            *after = after.saturating_add((*after / 1_000).saturating_mul(permille));
        }
    }

    /// Without this rung.
    pub(crate) fn without(&mut self, rung: Rung) {
        self.after[rung.index()] = NEVER;
    }
}

impl Prewake {
    /// Start at `at`, and wait so long.
    pub const fn new(at: Timestamp, hold: Duration, basis: Rhythm) -> Self {
        Self { at, hold, basis }
    }
}

/// An instance with nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Idle {
    /// Its service.
    pub service: ServiceId,
    /// The instance.
    pub instance: InstanceId,
    /// When it was last busy. A plan counts from here.
    pub since: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// Instances of the service that run, this one included.
    pub awake: u32,
    /// The level that would need it again: one more than the instances that are needed now. From 1.
    pub level: u32,
}

impl Idle {
    /// An idle instance, for a policy that is asked without a scheduler.
    pub const fn new(
        service: ServiceId,
        instance: InstanceId,
        since: Timestamp,
        now: Timestamp,
        awake: u32,
        level: u32,
    ) -> Self {
        Self {
            service,
            instance,
            since,
            now,
            awake,
            level,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::ParkLevel;

    const PAUSED: Rung = Rung::Park(ParkLevel::Paused);
    const RAM: Rung = Rung::Park(ParkLevel::Ram);
    const DISK: Rung = Rung::Park(ParkLevel::Disk);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn steps_come_in_time_order_and_never_back() {
        let plan = Plan::stay(Basis::Cooldown)
            .then(PAUSED, ms(5))
            .then(RAM, ms(50))
            .then(DISK, ms(500));
        assert_eq!(plan.next(None), Some((PAUSED, ms(5))));
        assert_eq!(plan.next(Some(PAUSED)), Some((RAM, ms(50))));
        assert_eq!(plan.next(Some(DISK)), None);
        assert_eq!(
            plan.due(None, ms(60)),
            Some(RAM),
            "a late tick skips what is over"
        );
        assert_eq!(plan.due(Some(RAM), ms(60)), None);
    }

    #[test]
    fn a_deeper_rung_at_the_same_time_or_earlier_hides_the_shallow_one() {
        let plan = Plan::stay(Basis::Cooldown)
            .then(PAUSED, ms(50))
            .then(RAM, ms(50))
            .then(DISK, ms(70));
        assert_eq!(plan.next(None), Some((RAM, ms(50))));
        assert_eq!(Plan::stay(Basis::Cooldown).next(None), None);
    }
}
