use core::time::Duration;

use crate::time::Timestamp;

/// When a service counts as flapping: it is parked and woken again so soon, so often, that keeping it awake had cost less.
///
/// Each wake that comes less than the break-even time after its park is a regret. From `enter` regrets within `window`
/// on, instances are kept for the whole break-even time, which bounds the cost at twice the optimum; until at most `leave`
/// regrets are left, and for `dwell` in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flapping {
    /// Regrets at which it begins. Above `leave`. Default 8.
    pub enter: u32,
    /// Regrets at which it ends. Default 2.
    pub leave: u32,
    /// Over how long they are counted. At least 1 ms. Default 60 s.
    pub window: Duration,
    /// Least time it lasts. Default 60 s.
    pub dwell: Duration,
}

impl Default for Flapping {
    fn default() -> Self {
        Self {
            enter: 8,
            leave: 2,
            window: Duration::from_secs(60),
            dwell: Duration::from_secs(60),
        }
    }
}

/// Counts regrets in a sliding window of two halves that stand for it: the last one whole, the one before by its share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FlapGuard {
    begun: Timestamp,
    current: u32,
    previous: u32,
    flapping_since: Option<Timestamp>,
}

impl FlapGuard {
    /// An instance is woken that was parked so long ago; keeping it had paid up to `break_even`.
    pub(crate) fn woken(
        &mut self,
        config: &Flapping,
        now: Timestamp,
        slept: Duration,
        break_even: Duration,
    ) -> bool {
        self.turn(config, now);
        if slept < break_even {
            self.current = self.current.saturating_add(1);
        }
        self.is_flapping(config, now)
    }

    /// Whether instances are to be kept for the whole break-even time.
    pub(crate) fn is_flapping(&mut self, config: &Flapping, now: Timestamp) -> bool {
        self.turn(config, now);
        let regrets = self.regrets(config, now);
        match self.flapping_since {
            None if regrets >= config.enter => self.flapping_since = Some(now),
            Some(since) if regrets <= config.leave && now.saturating_since(since) >= config.dwell => {
                self.flapping_since = None;
            }
            _ => {}
        }
        self.flapping_since.is_some()
    }

    /// Whether it was flapping when last asked.
    pub(crate) fn lasts(&self) -> bool {
        self.flapping_since.is_some()
    }

    fn turn(&mut self, config: &Flapping, now: Timestamp) {
        let age = now.saturating_since(self.begun);
        if age >= config.window {
            let is_next = age < config.window.saturating_mul(2);
            self.previous = if is_next { self.current } else { 0 };
            self.current = 0;
            self.begun = if is_next { self.begun + config.window } else { now };
        }
    }

    fn regrets(&self, config: &Flapping, now: Timestamp) -> u32 {
        let window = config.window.as_nanos().max(1);
        let left = window.saturating_sub(now.saturating_since(self.begun).as_nanos());
        let share = u128::from(self.previous) * left / window;
        u32::try_from(share)
            .unwrap_or(u32::MAX)
            .saturating_add(self.current)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BREAK_EVEN: Duration = Duration::from_millis(105);

    fn config() -> Flapping {
        Flapping {
            enter: 3,
            leave: 1,
            window: Duration::from_secs(10),
            dwell: Duration::from_secs(5),
        }
    }

    fn wake(guard: &mut FlapGuard, at_ms: u64, slept_ms: u64) -> bool {
        let slept = Duration::from_millis(slept_ms);
        guard.woken(&config(), Timestamp::from_millis(at_ms), slept, BREAK_EVEN)
    }

    #[test]
    fn a_service_that_sleeps_long_never_flaps_however_often_it_wakes() {
        let mut guard = FlapGuard::default();
        assert!((0..1_000).all(|wakes| !wake(&mut guard, wakes, 105)));
    }

    #[test]
    fn it_flaps_from_the_upper_threshold_on_until_the_lower_one_and_for_the_dwell_time() {
        let mut guard = FlapGuard::default();
        assert!(!wake(&mut guard, 0, 20));
        assert!(!wake(&mut guard, 100, 20));
        assert!(wake(&mut guard, 200, 20), "the third one");
        let mut at = |ms| guard.is_flapping(&config(), Timestamp::from_millis(ms));
        assert!(at(9_000), "two thresholds: three regrets are more than one");
        assert!(at(13_000), "3 · 0.7 = 2.1 of the window before");
        assert!(!at(17_000), "3 · 0.3 = 0.9");
    }

    #[test]
    fn it_lasts_for_the_dwell_time_at_least() {
        let config = Flapping {
            dwell: Duration::from_secs(30),
            ..config()
        };
        let mut guard = FlapGuard::default();
        for at in [0, 1, 2] {
            guard.woken(&config, Timestamp::from_millis(at), Duration::ZERO, BREAK_EVEN);
        }
        assert!(guard.is_flapping(&config, Timestamp::from_millis(29_000)));
        assert!(!guard.is_flapping(&config, Timestamp::from_millis(30_003)));
    }

    proptest! {
        #[test]
        fn it_changes_its_mind_at_most_once_per_dwell_time(waits in prop::collection::vec((0..3_000_u64, 0..200_u64), 1..200)) {
            let (mut guard, mut now, mut was, mut ended) = (FlapGuard::default(), 0, None, 0);
            for (wait, slept) in waits {
                now += wait;
                match (was, wake(&mut guard, now, slept)) {
                    (None, true) => was = Some(now),
                    (Some(since), false) => {
                        prop_assert!(now - since >= 5_000);
                        was = None;
                        ended += 1;
                    }
                    _ => {}
                }
            }
            prop_assert!(ended <= now / 5_000);
        }
    }
}
