use core::fmt;

use crate::scale::{Metric, Milli};

/// The numbers behind a computed count of instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CountBasis {
    /// The service is new.
    Initial,
    /// The step in which the metric was.
    Steps {
        /// What was measured.
        metric: Metric,
        /// Its average over the counted instances.
        value: Milli,
        /// How many are counted.
        counted: u32,
    },
    /// The distance of the metric from its target.
    Target {
        /// What was measured.
        metric: Metric,
        /// Its average over the counted instances.
        value: Milli,
        /// Where it is to be.
        target: Milli,
    },
    /// The two windows of the Knative mode.
    Kpa {
        /// The metric over the stable window.
        stable: Milli,
        /// And over the panic window.
        panic: Milli,
        /// Whether the count only rises.
        is_panicking: bool,
        /// How many more requests fit than are to fit.
        excess_burst: i64,
    },
    /// Spare slots.
    Staffing {
        /// Requests in the system on average.
        load: Milli,
    },
}

/// `812 mvCPU on 2 counted`, `KPA: 3.5 stable, 7 panic, panicking`.
impl fmt::Display for CountBasis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Initial => f.write_str("initial"),
            Self::Steps {
                metric,
                value,
                counted,
            } => {
                write!(f, "{} on each of {counted}", metric.describe(value))
            }
            Self::Target {
                metric,
                value,
                target,
            } => {
                write!(
                    f,
                    "{}, target {}",
                    metric.describe(value),
                    metric.describe(target)
                )
            }
            Self::Kpa {
                stable,
                panic,
                is_panicking,
                ..
            } => {
                write!(f, "{stable} stable, {panic} panic")?;
                if is_panicking {
                    f.write_str(", panicking")
                } else {
                    Ok(())
                }
            }
            Self::Staffing { load } => write!(f, "{load} in the system"),
        }
    }
}
