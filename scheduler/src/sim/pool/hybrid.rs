use std::vec;
use std::vec::Vec;

use super::controller::{Controller, Load, Scale};
use crate::sim::random::micros;

/// The hybrid histogram policy of "Serverless in the Wild" (Shahrad and others, USENIX ATC 2020), per service.
///
/// Idle times in bins of a minute over four hours. If they are of a kind, an idle service is parked at once, started
/// ahead at the fifth percentile less a tenth, and kept until the ninety-ninth and a tenth. If not, it is kept for the
/// whole range; and if most do not fit the range, for a smoothed forecast of the next one, 15 % before to 15 % after it.
#[derive(Debug)]
pub struct Hybrid {
    bins: Vec<u32>,
    seen: u32,
    out_of_range: u32,
    forecast_us: f64,
    idle_since: Option<u64>,
    ahead: Option<(u64, u64)>,
}

const MINUTE_US: u64 = 60_000_000;
const BINS: usize = 240;
const RANGE_US: u64 = BINS as u64 * MINUTE_US;

impl Default for Hybrid {
    fn default() -> Self {
        Self {
            bins: vec![0; BINS],
            seen: 0,
            out_of_range: 0,
            forecast_us: 0.0,
            idle_since: None,
            ahead: None,
        }
    }
}

impl Hybrid {
    fn learn(&mut self, idle_us: u64) {
        self.seen += 1;
        let bin = usize::try_from(idle_us / MINUTE_US).unwrap_or(BINS);
        match self.bins.get_mut(bin) {
            Some(count) => *count += 1,
            None => self.out_of_range += 1,
        }
        let new = idle_us as f64;
        let weight = if self.seen == 1 { 1.0 } else { 0.3 };
        self.forecast_us += (new - self.forecast_us) * weight;
    }

    /// Pause before the start ahead, and how long the instance is kept from the end of that pause.
    fn plan(&self) -> (u64, u64) {
        if self.seen > 0 && self.out_of_range * 2 >= self.seen {
            let before = micros(self.forecast_us * 0.85);
            return (before, micros(self.forecast_us * 0.3));
        }
        if self.variation() < 2.0 {
            return (0, RANGE_US);
        }
        let (low, high) = (self.percentile(5), self.percentile(99) + 1);
        let pause = low * MINUTE_US * 9 / 10;
        (pause, (high * MINUTE_US * 11 / 10).saturating_sub(pause))
    }

    /// How much the counts of bins vary: their standard deviation over their mean.
    fn variation(&self) -> f64 {
        let (sum, squares) = self.bins.iter().fold((0.0, 0.0), |(sum, squares), count| {
            let count = f64::from(*count);
            (sum + count, squares + count * count)
        });
        if sum == 0.0 {
            return 0.0;
        }
        let (mean, bins) = (sum / BINS as f64, BINS as f64);
        (squares / bins - mean * mean).max(0.0).sqrt() / mean
    }

    fn percentile(&self, percent: u64) -> u64 {
        let inside = u64::from(self.seen - self.out_of_range);
        let mut seen = 0;
        for (bin, count) in (0..).zip(&self.bins) {
            seen += u64::from(*count);
            if seen * 100 >= inside * percent {
                return bin;
            }
        }
        BINS as u64
    }
}

impl Controller for Hybrid {
    fn arrived(&mut self, now_us: u64, load: Load) {
        self.ahead = None;
        if load.in_system == 0
            && let Some(since) = self.idle_since.take()
        {
            self.learn(now_us - since);
        }
    }

    fn left(&mut self, now_us: u64, load: Load) {
        if load.in_system == 0 {
            self.idle_since = Some(now_us);
        }
    }

    fn keep_us(&mut self, now_us: u64, load: Load) -> u64 {
        let (pause, keep) = self.plan();
        if pause == 0 {
            return keep;
        }
        if load.in_system == 0 {
            let at = now_us.saturating_add(pause);
            self.ahead = Some((at, at.saturating_add(keep)));
            return 0;
        }
        keep
    }

    fn next_us(&self) -> Option<u64> {
        self.ahead.map(|(at, _)| at)
    }

    fn scale(&mut self, _: u64, _: Load) -> Scale {
        match self.ahead.take() {
            Some((_, until_us)) => Scale::Ahead {
                instances: 1,
                until_us,
            },
            None => Scale::Stay,
        }
    }
}
