use core::time::Duration;
use std::boxed::Box;

use super::contender::{Contender, Course};
use crate::config::{ServiceConfig, ValidConfig};
use crate::ladder::{Costs, Dial, LadderConfig, RungCost};
use crate::policy::{LearnedSki, SkiRental};
use crate::sim::live::{LiveConfig, LiveCounts, run_live as run_world};
use crate::sim::outcome::Outcome;
use crate::sim::pool::{PolicyController, run_pool};
use crate::sim::trace::Trace;

/// Runs the policy of this crate in the pool model, told only how long a start takes and how dear waiting is.
pub(super) fn run(trace: &Trace, cold_start_us: u64, beta: u32) -> Outcome {
    let config = config(cold_start_us, beta, None);
    run_pool(trace, cold_start_us, |_| {
        Box::new(PolicyController::new(LearnedSki::default(), config.clone()))
    })
}

/// Runs a policy of this crate in a real scheduler.
pub(super) fn run_live(
    contender: Contender,
    course: &Course<'_>,
    beta: u32,
    world: &LiveConfig,
) -> (Outcome, LiveCounts) {
    let world = LiveConfig {
        cold_start_us: course.cold_start_us,
        ..world.clone()
    };
    let cooldown = match contender {
        Contender::Fixed(keep) => Some(keep.max(Duration::from_millis(1))),
        _ => None,
    };
    let config = config(course.cold_start_us, beta, cooldown);
    let service = |_: &_| config.clone();
    let watch = &mut |_, _: &_, _: &[_]| {};
    match contender {
        Contender::Learned => run_world(course.trace, &world, LearnedSki::default(), service, watch),
        _ => run_world(course.trace, &world, SkiRental, service, watch),
    }
}

/// One request per instance, and one rung below running, which costs nothing while an instance is there.
fn config(cold_start_us: u64, beta: u32, cooldown: Option<Duration>) -> ValidConfig {
    let rung = RungCost::new(0, Duration::from_micros(cold_start_us));
    let mut config = ServiceConfig {
        max_instances: 1_000_000,
        concurrency: 1,
        cooldown,
        ladder: LadderConfig {
            dial: Dial::Beta(beta),
            ram: Some(rung),
            costs: Costs::Pinned,
            ..LadderConfig::default()
        },
        ..ServiceConfig::default()
    };
    config.queue.max_waiting = 1_000_000;
    config.validate().unwrap_or_default()
}
