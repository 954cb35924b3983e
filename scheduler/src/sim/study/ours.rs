use core::time::Duration;
use std::boxed::Box;

use crate::config::{ServiceConfig, ValidConfig};
use crate::ladder::{Costs, Dial, LadderConfig, RungCost};
use crate::policy::Cooldown;
use crate::sim::outcome::Outcome;
use crate::sim::pool::{PolicyController, run_pool};
use crate::sim::trace::Trace;

/// Runs the policy of this crate, told only how long a start takes and how dear waiting is.
pub(super) fn run(trace: &Trace, cold_start_us: u64, beta: u32) -> Outcome {
    let config = config(cold_start_us, beta);
    run_pool(trace, cold_start_us, |_| {
        Box::new(PolicyController::new(Cooldown, config.clone()))
    })
}

/// One rung below running, which costs nothing while an instance is there.
pub(crate) fn config(cold_start_us: u64, beta: u32) -> ValidConfig {
    let rung = RungCost::new(0, Duration::from_micros(cold_start_us));
    let config = ServiceConfig {
        ladder: LadderConfig {
            dial: Dial::Beta(beta),
            ram: Some(rung),
            costs: Costs::Pinned,
            ..LadderConfig::default()
        },
        ..ServiceConfig::default()
    };
    config.validate().unwrap_or_default()
}
