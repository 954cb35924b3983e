//! The pool model: services that never get in each other's way, fast enough to try every policy on every trace.

mod clairvoyant;
mod controller;
mod fixed;
mod greedy_dual;
mod hybrid;
mod kpa;
mod policy;
mod service;
mod staffing;

pub use clairvoyant::{clairvoyant_keep, clairvoyant_start};
pub use controller::{Controller, Load, OnDemand, Scale};
pub use fixed::Fixed;
pub use greedy_dual::greedy_dual;
pub(crate) use greedy_dual::mean_footprint_mb;
pub use hybrid::Hybrid;
pub use kpa::Kpa;
pub use policy::PolicyController;
pub use staffing::Staffing;

use std::boxed::Box;

use super::outcome::Outcome;
use super::trace::{ServiceTrace, Trace};

/// Runs every service of a trace under a controller of its own.
pub fn run_pool(
    trace: &Trace,
    cold_start_us: u64,
    mut controller: impl FnMut(&ServiceTrace) -> Box<dyn Controller>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let horizon_us = trace.end_us();
    for service in &trace.services {
        let mut controller = controller(service);
        service::run(
            service,
            cold_start_us,
            horizon_us,
            controller.as_mut(),
            &mut outcome,
        );
        outcome.add_learned(controller.learned_bytes());
    }
    outcome.settle()
}
