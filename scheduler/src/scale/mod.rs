//! How many instances there should be: modes that compute a count, each a pure function of what was measured.

mod config;
mod count;
mod flapping;
mod kpa;
mod metric;
mod scaler;
mod staffing;
mod step;
mod target;
mod window;

pub use config::{CountRole, ScaleConfig, ScaleMode};
pub use count::CountBasis;
pub(crate) use flapping::FlapGuard;
pub use flapping::Flapping;
pub use kpa::{KpaConfig, KpaMetric, TargetBurst};
#[cfg(feature = "sim")]
pub(crate) use kpa::{KpaInput, KpaState};
pub use metric::{Metric, Milli};
pub(crate) use scaler::{Awake, Count, Scaler};
pub use staffing::Staffing;
pub use step::{Adjustment, Step, StepError, StepPolicy};
pub use target::TargetTracking;
#[cfg(feature = "sim")]
pub(crate) use window::{Meter, Window};
