use core::time::Duration;

use crate::scale::window::SlidingMax;
use crate::scale::{Metric, Milli};
use crate::time::Timestamp;

/// Keeps a metric at a target: `desired = ⌈n · metric / target⌉`, as the Kubernetes horizontal pod autoscaler does.
///
/// Within the tolerance nothing changes. Instances that start or warm up have no metric yet: towards more they count as
/// idle, towards fewer as on target, so that they soften either. A lower count is taken only once every count of
/// `down_window` was lower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetTracking {
    /// What is measured, on average per counted instance. Default vCPU use.
    pub metric: Metric,
    /// Where to keep it. Above 0. Default 0.5 (half a vCPU).
    pub target: Milli,
    /// Deviation from the target that changes nothing, in percent. 0 to 100, default 10.
    pub tolerance_percent: u32,
    /// How long a higher count must hold before it is taken. Default none.
    pub up_window: Duration,
    /// How long a lower count must hold before it is taken. Default 300 s.
    pub down_window: Duration,
    /// The most by which one tick raises the count: the greater of this percentage and `max_up`. Default 100.
    pub max_up_percent: u32,
    /// Instances that one tick may add in any case. From 1. Default 4.
    pub max_up: u32,
    /// The most by which one tick lowers the count, in percent, but at least one instance. 1 to 100, default 100.
    pub max_down_percent: u32,
    /// How often the metric is taken, and the time it is averaged over. At least 10 ms. Default 15 s.
    pub interval: Duration,
}

impl Default for TargetTracking {
    fn default() -> Self {
        Self {
            metric: Metric::default(),
            target: Milli(500),
            tolerance_percent: 10,
            up_window: Duration::ZERO,
            down_window: Duration::from_secs(300),
            max_up_percent: 100,
            max_up: 4,
            max_down_percent: 100,
            interval: Duration::from_secs(15),
        }
    }
}

impl TargetTracking {
    /// The count that follows from an average over `counted` instances, while `fresh` others start or warm up.
    fn recommend(&self, average: Milli, counted: u32, fresh: u32) -> u32 {
        let current = counted.saturating_add(fresh);
        if counted == 0 || self.is_tolerable(average) {
            return current;
        }
        let is_high = average > self.target;
        let fresh_load = if is_high {
            0
        } else {
            self.target.0.saturating_mul(u64::from(fresh))
        };
        let load = average
            .0
            .saturating_mul(u64::from(counted))
            .saturating_add(fresh_load);
        let spread = Milli(load / u64::from(current));
        if self.is_tolerable(spread) || (spread > self.target) != is_high {
            return current;
        }
        Milli(load).div_ceil(self.target)
    }

    fn is_tolerable(&self, average: Milli) -> bool {
        let off = u128::from(average.0.abs_diff(self.target.0)) * 100;
        off <= u128::from(self.target.0) * u128::from(self.tolerance_percent)
    }

    /// The counts between which one tick may go.
    fn reach(&self, current: u32) -> (u32, u32) {
        let percent = |percent: u32| {
            let part = u64::from(current) * u64::from(percent) / 100;
            u32::try_from(part).unwrap_or(u32::MAX)
        };
        let down = percent(self.max_down_percent).max(1);
        let up = percent(self.max_up_percent).max(self.max_up);
        (current.saturating_sub(down), current.saturating_add(up))
    }
}

/// What target tracking remembers from tick to tick.
#[derive(Debug, Default)]
pub(crate) struct TargetState {
    highest: SlidingMax,
    /// Of the distance of each count to `u32::MAX`: the greatest one is that of the lowest count.
    lowest: SlidingMax,
    has_begun: bool,
}

impl TargetState {
    /// One tick: the count that is to be.
    pub(crate) fn tick(
        &mut self,
        config: &TargetTracking,
        now: Timestamp,
        average: Milli,
        counted: u32,
        fresh: u32,
    ) -> u32 {
        let current = counted.saturating_add(fresh);
        if !self.has_begun {
            // What was there before is not lowered at once.
            self.has_begun = true;
            self.record(config, now, current);
        }
        let (lowest, highest) = self.record(config, now, config.recommend(average, counted, fresh));
        let stable = current.clamp(lowest, highest.max(lowest));
        let (least, most) = config.reach(current);
        stable.clamp(least, most)
    }

    /// The least count of the up window and the greatest one of the down window.
    fn record(&mut self, config: &TargetTracking, now: Timestamp, count: u32) -> (u32, u32) {
        let lowest = u32::MAX - self.lowest.record(now, u32::MAX - count, config.up_window);
        (lowest, self.highest.record(now, count, config.down_window))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// A target of 100 requests in flight, without windows.
    fn at_once() -> TargetTracking {
        TargetTracking {
            metric: Metric::InFlight,
            target: Milli::from_units(100),
            down_window: Duration::ZERO,
            ..TargetTracking::default()
        }
    }

    /// Average in units, counted, fresh → recommended, by hand from the published formula.
    const TABLE: [(u64, u32, u32, u32); 12] = [
        (200, 3, 0, 6), // ⌈3 · 2⌉
        (150, 3, 0, 5), // ⌈3 · 1.5⌉ = ⌈4.5⌉
        (110, 3, 0, 3), // 10 % off: tolerated
        (111, 3, 0, 4), // ⌈3.33⌉
        (90, 3, 0, 3),  // tolerated
        (60, 3, 0, 2),  // ⌈1.8⌉
        (0, 3, 0, 0),   // nothing is going on
        (200, 3, 3, 6), // six instances carry 600: on target, so those that start suffice
        (300, 3, 3, 9), // ⌈900 / 100⌉
        (150, 2, 2, 4), // 300 over four is 75: the deviation turned, so nothing changes
        (20, 2, 2, 3),  // the fresh two count as on target: ⌈(40 + 200) / 100⌉
        (500, 0, 2, 2), // nobody is counted
    ];

    #[test]
    fn the_count_follows_the_published_formula() {
        for (average, counted, fresh, count) in TABLE {
            let found = at_once().recommend(Milli::from_units(average), counted, fresh);
            assert_eq!(found, count, "{average} over {counted} + {fresh}");
        }
    }

    fn run(config: &TargetTracking, mut count: u32, ticks: &[(u64, u64)]) -> Vec<u32> {
        let mut state = TargetState::default();
        let step = |&(at, average): &(u64, u64)| {
            let now = Timestamp::from_millis(at * 1_000);
            count = state.tick(config, now, Milli::from_units(average), count, 0);
            count
        };
        ticks.iter().map(step).collect()
    }

    #[test]
    fn a_lower_count_waits_until_the_whole_window_was_lower() {
        let config = TargetTracking {
            down_window: Duration::from_secs(60),
            ..at_once()
        };
        let ticks = [(0, 100), (15, 50), (30, 50), (45, 50), (60, 50), (75, 50)];
        assert_eq!(run(&config, 4, &ticks), [4, 4, 4, 4, 2, 2]);
    }

    #[test]
    fn what_was_there_when_it_began_counts_for_a_window_too() {
        let config = TargetTracking {
            down_window: Duration::from_secs(60),
            ..at_once()
        };
        assert_eq!(run(&config, 4, &[(0, 50), (30, 50), (60, 50)]), [4, 4, 2]);
    }

    #[test]
    fn a_higher_count_waits_for_its_window_too() {
        let config = TargetTracking {
            up_window: Duration::from_secs(30),
            ..at_once()
        };
        assert_eq!(
            run(&config, 2, &[(0, 100), (15, 200), (30, 200), (45, 200)]),
            [2, 2, 4, 4]
        );
    }

    #[test]
    fn one_tick_adds_four_or_doubles_and_takes_no_more_than_it_may() {
        assert_eq!(run(&at_once(), 2, &[(0, 5_000)]), [6], "2 + 4");
        assert_eq!(run(&at_once(), 10, &[(0, 5_000)]), [20], "10 · 2");
        let slow = TargetTracking {
            max_down_percent: 10,
            ..at_once()
        };
        assert_eq!(run(&slow, 20, &[(0, 100), (15, 0)]), [20, 18]);
        assert_eq!(run(&slow, 3, &[(0, 100), (15, 0)]), [3, 2], "at least one");
    }

    proptest! {
        #[test]
        fn a_count_moves_towards_the_target_or_not_at_all(average in 0..100_000_000_u64, counted in 1..1_000_u32, fresh in 0..1_000_u32) {
            let config = at_once();
            let (average, current) = (Milli(average), counted + fresh);
            let count = config.recommend(average, counted, fresh);
            prop_assert!(average <= config.target || count >= current);
            prop_assert!(average >= config.target || count <= current);
        }
    }
}
