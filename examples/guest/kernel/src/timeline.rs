//! From a time stamp counter to nanoseconds.

/// A linear clock over the time stamp counter: valid from when it was taken until the next restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeline {
    /// Counter at the moment the other values are for.
    pub tsc_base: u64,
    /// Nanoseconds since boot at `tsc_base`.
    pub monotonic_ns: u64,
    /// Nanoseconds since the Unix epoch at `tsc_base`; 0 if not known.
    pub realtime_ns: u64,
    /// Nanoseconds of one tick, times 2 to the power of `tsc_shift`.
    pub tsc_mult: u32,
    /// See `tsc_mult`; at most 63.
    pub tsc_shift: u32,
}

impl Timeline {
    /// A clock that starts now, at a counter that ticks `ticks` times in `ns` nanoseconds.
    pub fn calibrated(tsc_base: u64, ticks: u64, ns: u64) -> Self {
        let mut tsc_shift = 32;
        let mult = |shift: u32| (u128::from(ns) << shift) / u128::from(ticks.max(1));
        while tsc_shift > 0 && mult(tsc_shift) > u128::from(u32::MAX) {
            tsc_shift -= 1;
        }
        let tsc_mult = u32::try_from(mult(tsc_shift)).unwrap_or(u32::MAX);
        Self {
            tsc_base,
            monotonic_ns: 0,
            realtime_ns: 0,
            tsc_mult,
            tsc_shift,
        }
    }

    /// Nanoseconds since boot when the counter read `tsc`. A counter from before `tsc_base` reads as then.
    pub fn monotonic_ns(&self, tsc: u64) -> u64 {
        self.monotonic_ns.saturating_add(self.span_ns(self.tsc_base, tsc))
    }

    /// Nanoseconds since the Unix epoch when the counter read `tsc`, if known.
    pub fn realtime_ns(&self, tsc: u64) -> Option<u64> {
        (self.realtime_ns != 0).then(|| self.realtime_ns.saturating_add(self.span_ns(self.tsc_base, tsc)))
    }

    /// Nanoseconds from one counter value to a later one; 0 if it is not later.
    pub fn span_ns(&self, from_tsc: u64, to_tsc: u64) -> u64 {
        let ticks = u128::from(to_tsc.saturating_sub(from_tsc));
        let ns = (ticks * u128::from(self.tsc_mult))
            .checked_shr(self.tsc_shift)
            .unwrap_or(0);
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_two_gigahertz_counter_takes_two_ticks_a_nanosecond() {
        let timeline = Timeline {
            tsc_base: 100,
            monotonic_ns: 7,
            realtime_ns: 9,
            tsc_mult: 1 << 31,
            tsc_shift: 32,
        };
        assert_eq!(timeline.monotonic_ns(2_100), 1_007);
        assert_eq!(timeline.realtime_ns(2_100), Some(1_009));
        assert_eq!(timeline.monotonic_ns(99), 7);
        assert_eq!(
            Timeline {
                realtime_ns: 0,
                ..timeline
            }
            .realtime_ns(2_100),
            None
        );
    }

    proptest! {
        #[test]
        fn calibration_is_right_to_a_millionth(mhz in 100_u64..10_000, ns in 1_000_000_u64..1 << 32) {
            let ticks = ns * mhz / 1_000;
            let timeline = Timeline::calibrated(5, ticks, ns);
            let measured = timeline.monotonic_ns(5 + ticks);
            prop_assert!(measured.abs_diff(ns) <= 1 + ns / 1_000_000, "{measured} for {ns}");
        }

        #[test]
        fn no_values_overflow(tsc_base: u64, monotonic_ns: u64, tsc_mult: u32, tsc_shift: u32, tsc: u64) {
            let timeline = Timeline { tsc_base, monotonic_ns, realtime_ns: 1, tsc_mult, tsc_shift };
            prop_assert!(timeline.monotonic_ns(tsc) >= monotonic_ns);
        }
    }
}
