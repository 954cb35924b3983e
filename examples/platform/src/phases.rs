//! The phases of a wake, under the names that code, metrics and documentation share.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// One stretch of a wake. Together they go from a request's first byte to its answer's first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// The connection is held until the controller is asked.
    Park,
    /// The scheduler decides, and a shell and the saved state are taken from their stocks.
    Place,
    /// The memory is mapped, or copied when it is little.
    Load,
    /// Registers and devices are set and the vCPU is let go.
    Restore,
    /// The guest runs and answers; until its first byte has come back to the proxy.
    FirstResponse,
}

impl Phase {
    /// All phases in their order.
    pub const ALL: [Self; 5] = [
        Self::Park,
        Self::Place,
        Self::Load,
        Self::Restore,
        Self::FirstResponse,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Park => "park",
            Self::Place => "place",
            Self::Load => "load",
            Self::Restore => "restore",
            Self::FirstResponse => "first_response",
        }
    }
}

/// Durations in nanoseconds, up to one hour, with three significant digits.
#[derive(Debug, Clone)]
pub struct Durations(Histogram<u64>);

impl Default for Durations {
    fn default() -> Self {
        Self(
            Histogram::new_with_bounds(1, 3_600_000_000_000, 3)
                .expect("constant bounds that fit a histogram"),
        )
    }
}

impl Durations {
    /// Adds one.
    pub fn record(&mut self, duration: Duration) {
        self.0
            .saturating_record(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(1));
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value that a share of `quantile` (0 to 1) do not exceed; zero when there is none.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(quantile))
    }

    /// The largest.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }
}

/// What all wakes so far took, phase by phase. Memory does not grow with their number.
#[derive(Debug, Default)]
pub struct WakePhases {
    /// Guards the histograms; held for one addition or one copy.
    phases: Mutex<[Durations; 5]>,
}

impl WakePhases {
    /// Adds one phase of one wake.
    pub fn record(&self, phase: Phase, duration: Duration) {
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        for (durations, candidate) in phases.iter_mut().zip(Phase::ALL) {
            if candidate == phase {
                durations.record(duration);
            }
        }
    }

    /// All phases with what they took, in their order.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(Phase, Durations)> {
        let phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        Phase::ALL.into_iter().zip(phases.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_kept_per_phase() {
        let phases = WakePhases::default();
        for us in 1..=100 {
            phases.record(Phase::Load, Duration::from_micros(us));
        }
        let snapshot = phases.snapshot();
        let (_, load) = &snapshot[2];
        assert_eq!(load.count(), 100);
        assert!(load.quantile(0.5).abs_diff(Duration::from_micros(50)) < Duration::from_micros(1));
        assert_eq!(snapshot[3].1.count(), 0);
    }
}
