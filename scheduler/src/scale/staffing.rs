use core::time::Duration;

use crate::scale::Milli;

/// Square-root staffing: keeps `N = ρ + k·√ρ` slots for ρ requests in flight on average, so that a burst of `k` standard
/// deviations finds a free slot.
///
/// The rule is that of heavily loaded queues with many servers (Halfin and Whitt, "Heavy-traffic limits for queues with
/// many exponential servers", Operations Research 29, 1981); by Little's law ρ is the arrival rate times the mean service
/// time. Spare slots cost memory all the time and save a wake now and then. They pay where a wake hurts (its time `c`
/// times the dial's β, both of the [`ladder`](crate::ServiceConfig::ladder), at least [`min_regret`](Self::min_regret))
/// and the load is great against its root (ρ above [`min_load`](Self::min_load)). In our simulations of real traces at
/// c = 5 ms and β = 20, where `c·β` is 100 ms, they cost ten times what they saved; so elsewhere the count is zero, and
/// requests start their instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staffing {
    /// Standard deviations of a burst that finds free slots, in thousandths. Default 1.
    pub spare: Milli,
    /// Least `c·β` for which slots are kept. Default 1 s.
    pub min_regret: Duration,
    /// Requests in flight on average above which slots are kept. Default 3.
    pub min_load: Milli,
    /// How far back the average looks. One to 10,000 `interval`s. Default 30 s.
    pub window: Duration,
    /// How often the count is computed. At least 10 ms. Default 2 s.
    pub interval: Duration,
}

impl Default for Staffing {
    fn default() -> Self {
        Self {
            spare: Milli(1_000),
            min_regret: Duration::from_secs(1),
            min_load: Milli(3_000),
            window: Duration::from_secs(30),
            interval: Duration::from_secs(2),
        }
    }
}

impl Staffing {
    /// Instances to keep for `load` requests in flight on average, with so many slots each; zero where spare slots do not
    /// pay. `regret` is `c·β`.
    pub(crate) fn count(&self, load: Milli, slots: u32, regret: Duration) -> u32 {
        if regret < self.min_regret || load <= self.min_load {
            return 0;
        }
        // √(ρ/1000) = √(ρ·1000)/1000, so the root of a million times ρ is in thousandths.
        let root = (u128::from(load.0) * 1_000).isqrt();
        let spare = root * u128::from(self.spare.0) / 1_000;
        let staffed = u64::try_from(spare).unwrap_or(u64::MAX).saturating_add(load.0);
        Milli(staffed).div_ceil(Milli::from_units(u64::from(slots)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// ρ, k, slots of an instance → ⌈(ρ + k·√ρ) / slots⌉, by hand.
    const TABLE: [(u64, u64, u32, u32); 8] = [
        (4_000, 1_000, 1, 6),     // 4 + 2 = 6
        (9_000, 2_000, 1, 15),    // 9 + 2·3 = 15
        (10_000, 1_000, 1, 14),   // 10 + 3.162 = 13.162
        (10_000, 500, 1, 12),     // 10 + 1.581 = 11.581
        (100_000, 1_000, 10, 11), // (100 + 10) / 10 = 11
        (100_000, 1_000, 8, 14),  // 110 / 8 = 13.75
        (3_000, 1_000, 1, 0),     // not above 3
        (2_500_000, 0, 1, 2_500), // no spare
    ];

    #[test]
    fn slots_are_the_load_and_k_times_its_root() {
        for (load, spare, slots, count) in TABLE {
            let staffing = Staffing {
                spare: Milli(spare),
                ..Staffing::default()
            };
            let found = staffing.count(Milli(load), slots, Duration::from_secs(10));
            assert_eq!(found, count, "load {load}");
        }
    }

    #[test]
    fn no_slot_is_kept_where_a_wake_is_cheap() {
        let with = |wake_ms: u64| {
            let regret = Duration::from_millis(wake_ms) * 20;
            Staffing::default().count(Milli(100_000), 1, regret)
        };
        assert_eq!(with(5), 0, "5 ms · 20 = 100 ms, below 1 s");
        assert_eq!(with(50), 110, "50 ms · 20 = 1 s");
    }

    proptest! {
        #[test]
        fn more_load_never_needs_less_and_never_less_than_itself(load in 3_001..u64::MAX / 2, more in 0..1_000_000_u64, slots: u32) {
            let count = |load| Staffing::default().count(Milli(load), slots, Duration::from_secs(1));
            prop_assert!(count(load) <= count(load + more));
            prop_assert!(count(load) >= Milli(load).div_ceil(Milli::from_units(u64::from(slots))));
        }
    }
}
