use alloc::collections::VecDeque;
use core::time::Duration;

use crate::scale::Milli;
use crate::time::Timestamp;

/// What a level was like over a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The level times the nanoseconds it held.
    pub(crate) area: u128,
    /// Things that happened.
    pub(crate) arrivals: u64,
    pub(crate) nanos: u64,
}

impl Sample {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            area: self.area.saturating_add(other.area),
            arrivals: self.arrivals.saturating_add(other.arrivals),
            nanos: self.nanos.saturating_add(other.nanos),
        }
    }

    /// The level, time-weighted; zero over no time.
    pub(crate) fn average(&self) -> Milli {
        Milli::ratio(self.area, u128::from(self.nanos))
    }

    /// Arrivals per second; zero over no time.
    pub(crate) fn rate(&self) -> Milli {
        let billionths = u128::from(self.arrivals).saturating_mul(1_000_000_000);
        Milli::ratio(billionths, u128::from(self.nanos))
    }
}

/// Integrates a level that changes at events: O(1) each, exact at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meter {
    level: u64,
    since: Timestamp,
    open: Sample,
}

impl Meter {
    pub(crate) fn new(now: Timestamp, level: u64) -> Self {
        Self {
            level,
            since: now,
            open: Sample::default(),
        }
    }

    fn advance(&mut self, now: Timestamp) {
        let nanos = now.as_nanos().saturating_sub(self.since.as_nanos());
        let area = u128::from(self.level).saturating_mul(u128::from(nanos));
        self.open = self.open.plus(Sample {
            area,
            arrivals: 0,
            nanos,
        });
        self.since = self.since.max(now);
    }

    /// The level is `level` from now on.
    pub(crate) fn set(&mut self, now: Timestamp, level: u64) {
        if level != self.level {
            self.advance(now);
            self.level = level;
        }
    }

    pub(crate) fn arrived(&mut self) {
        self.open.arrivals = self.open.arrivals.saturating_add(1);
    }

    /// What happened since the last time this was asked.
    pub(crate) fn take(&mut self, now: Timestamp) -> Sample {
        self.advance(now);
        core::mem::take(&mut self.open)
    }
}

/// The samples of the last ticks, newest last, as many as the longest window needs.
///
/// An average over a window that has not filled yet is one over what there is, as in Knative.
#[derive(Debug, Default)]
pub(crate) struct Window {
    samples: VecDeque<Sample>,
}

impl Window {
    /// Adds the newest sample, and drops those that no window up to `longest` needs any more.
    pub(crate) fn push(&mut self, sample: Sample, longest: Duration) {
        self.samples.push_back(sample);
        let mut covered: u64 = self.samples.iter().map(|sample| sample.nanos).sum();
        while let Some(oldest) = self.samples.front() {
            covered = covered.saturating_sub(oldest.nanos);
            if u128::from(covered) < longest.as_nanos() {
                break;
            }
            self.samples.pop_front();
        }
    }

    /// Everything in the samples that cover the last `span`.
    pub(crate) fn last(&self, span: Duration) -> Sample {
        let mut sum = Sample::default();
        for sample in self.samples.iter().rev() {
            if u128::from(sum.nanos) >= span.as_nanos() {
                break;
            }
            sum = sum.plus(*sample);
        }
        sum
    }

    pub(crate) fn clear(&mut self) {
        self.samples = VecDeque::new();
    }
}

/// The greatest of the values recorded less than `span` ago: what a count may fall to that is to fall late.
#[derive(Debug, Default)]
pub(crate) struct SlidingMax {
    /// Times rise, values fall.
    peaks: VecDeque<(Timestamp, u32)>,
}

impl SlidingMax {
    /// Records a value and tells the greatest one that counts. Amortised O(1).
    pub(crate) fn record(&mut self, now: Timestamp, value: u32, span: Duration) -> u32 {
        while self.peaks.back().is_some_and(|(_, peak)| *peak <= value) {
            self.peaks.pop_back();
        }
        self.peaks.push_back((now, value));
        while self.peaks.len() > 1 {
            match self.peaks.front() {
                Some((at, _)) if now.saturating_since(*at) >= span => self.peaks.pop_front(),
                _ => break,
            };
        }
        self.peaks.front().map_or(value, |(_, peak)| *peak)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn ms(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_level_is_weighted_by_the_time_it_held() {
        let mut meter = Meter::new(ms(0), 0);
        meter.set(ms(250), 4);
        meter.set(ms(750), 2);
        meter.arrived();
        let sample = meter.take(ms(1_000));
        assert_eq!(sample.average(), Milli(2_500), "0.25·0 + 0.5·4 + 0.25·2");
        assert_eq!(sample.rate(), Milli(1_000));
        assert_eq!(
            meter.take(ms(2_000)).average(),
            Milli(2_000),
            "the level stays, the rest starts anew"
        );
    }

    #[test]
    fn time_that_goes_back_counts_as_none() {
        let mut meter = Meter::new(ms(10), 3);
        meter.set(ms(5), 1);
        assert_eq!(meter.take(ms(5)).nanos, 0);
        assert_eq!(meter.take(ms(12)).average(), Milli(1_000));
    }

    fn second(level: u64) -> Sample {
        Sample {
            area: u128::from(level) * 1_000_000_000,
            arrivals: level,
            nanos: 1_000_000_000,
        }
    }

    #[test]
    fn a_window_averages_what_it_covers_and_less_while_it_fills() {
        let (mut window, longest) = (Window::default(), Duration::from_secs(3));
        assert_eq!(window.last(longest).average(), Milli(0));
        for (level, average) in [(6, 6_000), (0, 3_000), (3, 3_000), (3, 2_000)] {
            window.push(second(level), longest);
            assert_eq!(window.last(longest).average(), Milli(average));
        }
        assert_eq!(window.last(Duration::from_secs(1)).average(), Milli(3_000));
        assert_eq!(
            window.samples.len(),
            3,
            "nothing is kept beyond the longest window"
        );
    }

    #[test]
    fn the_greatest_value_counts_until_it_is_as_old_as_the_span() {
        let mut max = SlidingMax::default();
        let span = Duration::from_millis(10);
        let seen: Vec<_> = [(0, 5), (4, 3), (9, 1), (10, 1), (14, 0), (30, 0)]
            .map(|(at, value)| max.record(ms(at), value, span))
            .into();
        assert_eq!(seen, [5, 5, 5, 3, 1, 0]);
        assert_eq!(
            SlidingMax::default().record(ms(0), 7, Duration::ZERO),
            7,
            "no span: the value itself"
        );
    }

    proptest! {
        #[test]
        fn a_sliding_maximum_is_the_maximum_of_the_span(steps in vec((0..20_u64, 0..9_u32), 1..60), span in 1..50_u64) {
            let (mut max, mut all, mut now) = (SlidingMax::default(), Vec::new(), 0);
            for (wait, value) in steps {
                now += wait;
                all.push((now, value));
                let expected = all.iter().filter(|(at, _)| now - at < span).map(|(_, value)| *value).max();
                prop_assert_eq!(Some(max.record(ms(now), value, Duration::from_millis(span))), expected);
            }
        }

        #[test]
        fn samples_add_up_to_the_whole_however_time_is_cut(levels in vec((1..1_000_u64, 0..50_u64), 1..40)) {
            let (mut whole, mut cut) = (Meter::new(ms(0), 0), Meter::new(ms(0), 0));
            let (mut sum, mut now) = (Sample::default(), 0);
            for (wait, level) in levels {
                now += wait;
                whole.set(ms(now), level);
                cut.set(ms(now), level);
                sum = sum.plus(cut.take(ms(now)));
            }
            prop_assert_eq!(sum, whole.take(ms(now)));
        }
    }
}
