mod problems;
#[cfg(test)]
mod tests;
mod text;

pub use text::StepError;

use alloc::vec::Vec;
use core::time::Duration;

use crate::scale::{Metric, Milli};

/// Scales by steps: each range of the metric has an adjustment of the count, as Unikraft Cloud has it.
///
/// Steps lie side by side; a value on a bound belongs to the upper one, and outside of all steps nothing changes. What a
/// step adds is added to the instances that are *counted*, so that a value that stays high while new instances start and
/// warm up does not add them again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepPolicy {
    /// What is measured. Default vCPU use.
    pub metric: Metric,
    /// What the amounts of the steps mean. Default: a change.
    pub adjustment: Adjustment,
    /// From the lowest to the highest. At least one.
    pub steps: Vec<Step>,
    /// After the count was raised, how far below the bound of a lowering step the metric must be before it is lowered, in
    /// percent of the bound; and the other way round. 0 to 99, default 10.
    pub dead_band_percent: u32,
    /// How often the metric is taken, and the time it is averaged over. At least 10 ms. Default 1 s.
    pub interval: Duration,
}

impl Default for StepPolicy {
    fn default() -> Self {
        Self {
            metric: Metric::default(),
            adjustment: Adjustment::default(),
            steps: Vec::new(),
            dead_band_percent: 10,
            interval: Duration::from_secs(1),
        }
    }
}

/// What the amount of a step means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Adjustment {
    /// So many instances more or fewer.
    #[default]
    Change,
    /// So many instances.
    Exact,
    /// So many percent more or fewer, rounded towards no change but at least one instance.
    Percent,
}

/// One range of the metric and what to do in it: `600:800/50`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The least value, itself included; `None` is no bound. In thousandths of a vCPU, requests, or requests per second.
    pub lower: Option<u64>,
    /// The value it ends before; `None` is no bound.
    pub upper: Option<u64>,
    /// What to do, as [`StepPolicy::adjustment`] says.
    pub amount: i32,
}

/// Which way a count went last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Up,
    Down,
}

impl StepPolicy {
    /// The count that follows from a value of the metric; `None`: as it is.
    ///
    /// `counted` instances the value comes from; `current` is the count now, those that start included.
    pub(crate) fn desired(
        &self,
        value: Milli,
        counted: u32,
        current: u32,
        last: Option<Direction>,
    ) -> Option<u32> {
        let step = self.steps.iter().find(|step| self.contains(step, value))?;
        let size = step.amount.unsigned_abs();
        let lowers = step.amount < 0;
        let count = match (self.adjustment, lowers) {
            (Adjustment::Exact, true) => return None,
            (Adjustment::Exact, false) => size,
            _ if size == 0 => return None,
            (Adjustment::Change, false) => counted.saturating_add(size).max(current),
            (Adjustment::Change, true) => current.saturating_sub(size),
            (Adjustment::Percent, false) => counted.saturating_add(percent(counted, size)).max(current),
            (Adjustment::Percent, true) => current.saturating_sub(percent(current, size)),
        };
        let turns_back = match last {
            Some(Direction::Up) => count < current && !self.is_well_below(value, step.upper),
            Some(Direction::Down) => count > current && !self.is_well_above(value, step.lower),
            None => false,
        };
        (count != current && !turns_back).then_some(count)
    }

    /// Whether a value lies in a step.
    pub(crate) fn covers(&self, value: Milli) -> bool {
        self.steps.iter().any(|step| self.contains(step, value))
    }

    fn contains(&self, step: &Step, value: Milli) -> bool {
        let bound = |number| self.metric.bound(number);
        step.lower.is_none_or(|lower| bound(lower) <= value)
            && step.upper.is_none_or(|upper| value < bound(upper))
    }

    fn is_well_below(&self, value: Milli, bound: Option<u64>) -> bool {
        let percent = u128::from(100_u32.saturating_sub(self.dead_band_percent));
        bound.is_none_or(|bound| u128::from(value.0) * 100 < u128::from(self.metric.bound(bound).0) * percent)
    }

    fn is_well_above(&self, value: Milli, bound: Option<u64>) -> bool {
        let percent = u128::from(self.dead_band_percent.saturating_add(100));
        bound
            .is_none_or(|bound| u128::from(value.0) * 100 >= u128::from(self.metric.bound(bound).0) * percent)
    }
}

fn percent(of: u32, percent: u32) -> u32 {
    let part = u64::from(of) * u64::from(percent) / 100;
    u32::try_from(part).unwrap_or(u32::MAX).max(1)
}
