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
    let config = weighed(cold_start_us, beta);
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
    let config = match contender {
        Contender::Fixed(keep) => fixed(keep),
        _ => weighed(course.cold_start_us, beta),
    };
    let service = |_: &_| config.clone();
    let watch = &mut |_, _: &_, _: &[_]| {};
    match contender {
        Contender::Learned => run_world(course.trace, &world, LearnedSki::default(), service, watch),
        _ => run_world(course.trace, &world, SkiRental, service, watch),
    }
}

/// One rung below running, which costs nothing while an instance is there.
fn weighed(cold_start_us: u64, beta: u32) -> ValidConfig {
    valid(ServiceConfig {
        ladder: LadderConfig {
            dial: Dial::Beta(beta),
            ram: Some(RungCost::new(0, Duration::from_micros(cold_start_us))),
            costs: Costs::Pinned,
            ..LadderConfig::default()
        },
        ..ServiceConfig::default()
    })
}

/// However long a start takes: nothing is said about it, or a shorter time would be refused.
fn fixed(keep: Duration) -> ValidConfig {
    valid(ServiceConfig {
        cooldown: Some(keep.max(Duration::from_millis(1))),
        ..ServiceConfig::default()
    })
}

/// One request per instance, as many of both as come.
fn valid(mut config: ServiceConfig) -> ValidConfig {
    config.max_instances = 1_000_000;
    config.concurrency = 1;
    config.queue.max_waiting = 1_000_000;
    config.validate().expect("the study checked start times and β")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_study_may_ask_for_is_a_configuration() {
        let longest = crate::time::micros(RungCost::MAX_WAKE);
        for (start_us, beta) in [(1, 1), (longest, Dial::MAX_BETA)] {
            let config = weighed(start_us, beta);
            assert_eq!((config.ladder.dial, config.concurrency), (Dial::Beta(beta), 1));
        }
        assert_eq!(fixed(Duration::ZERO).cooldown, Some(Duration::from_millis(1)));
        assert_eq!(fixed(Duration::MAX).cooldown, Some(Duration::MAX));
    }
}
