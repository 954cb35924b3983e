use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::config::{ResourceConfig, ServiceConfig, ValidConfig};
use crate::ladder::{Dial, Rung, RungCost};
use crate::problem::{Problem, Problems};
use crate::units::{Bytes, Span};

/// The rungs in their order.
const LADDER_PATHS: [&str; Rung::COUNT] = ["ladder.paused", "ladder.ram", "ladder.disk", "ladder.stop"];

impl ServiceConfig {
    /// Checks the configuration, so that a scheduler takes it.
    ///
    /// # Errors
    /// Every problem there is, each with the path of its field.
    pub fn validate(self) -> Result<ValidConfig, Vec<Problem>> {
        let mut problems = Problems::default();
        self.check_counts(&mut problems);
        self.check_times(&mut problems);
        self.check_ladder(&mut problems);
        self.scale
            .check(&mut problems, self.max_instances, self.concurrency);
        problems.or(self).map(|config| ValidConfig(Arc::new(config)))
    }

    fn check_counts(&self, problems: &mut Problems) {
        problems.at_least_one("max_instances", self.max_instances);
        problems.at_least_one("concurrency", self.concurrency);
        problems.at_least_one("queue.max_waiting", self.queue.max_waiting);
        problems.at_least_one("start.attempts", self.start.attempts);
        let (min, max) = (self.min_instances, self.max_instances);
        let message = format_args!("is {min}, must be at most max_instances, {max}");
        problems.unless(min <= max, "min_instances", message);
        let message = format_args!("is {min}, must be at most {}", Self::MAX_AWAKE);
        problems.unless(min <= Self::MAX_AWAKE, "min_instances", message);
        let (needs, most) = (self.resources.memory_bytes, ResourceConfig::MAX_MEMORY_BYTES);
        let message = format_args!("is {}, must be at most {}", Bytes(needs), Bytes(most));
        problems.unless(needs <= most, "resources.memory_bytes", message);
    }

    fn check_times(&self, problems: &mut Problems) {
        let least = Duration::from_millis(1);
        problems.lasts("cooldown", self.cooldown.unwrap_or(Duration::MAX), least);
        problems.lasts("queue.max_wait", self.queue.max_wait, least);
        problems.lasts("start.timeout", self.start.timeout, least);
        problems.lasts("start.retry_first", self.start.retry_first, least);
        let (first, cap) = (self.start.retry_first, self.start.retry_cap);
        let message = format_args!(
            "is {}, must be at least start.retry_first, {}",
            Span(cap),
            Span(first)
        );
        problems.unless(cap >= first, "start.retry_cap", message);
    }

    fn check_ladder(&self, problems: &mut Problems) {
        let beta = self.ladder.dial.beta();
        let message = format_args!("is β = {beta}, must be at most {}", Dial::MAX_BETA);
        problems.unless(beta <= Dial::MAX_BETA, "ladder.dial", message);
        let rungs = Rung::ALL.map(|rung| self.ladder.cost(rung, self.park_level));
        let mut above: Option<RungCost> = None;
        for (path, cost) in LADDER_PATHS.into_iter().zip(rungs) {
            let Some(cost) = cost else { continue };
            let (rate, wake) =
                above.map_or((1_000, Duration::ZERO), |above| (above.rate_permille, above.wake));
            let message = format_args!(
                "costs {} ‰ and wakes in {}, must cost at most {rate} ‰ and wake in {} to {}",
                cost.rate_permille,
                Span(cost.wake),
                Span(wake),
                Span(RungCost::MAX_WAKE)
            );
            let holds = cost.rate_permille <= rate && cost.wake >= wake && cost.wake <= RungCost::MAX_WAKE;
            problems.unless(holds, path, message);
            above = Some(cost);
        }
        let known = self.ladder.configured(Rung::Park(self.park_level));
        if let (Some(cooldown), Some(cost)) = (self.cooldown, known) {
            let least = cost.enter.saturating_add(cost.wake);
            let message = format_args!(
                "is {}, must be at least what it takes to park and wake, {}",
                Span(cooldown),
                Span(least)
            );
            problems.unless(cooldown >= least, "cooldown", message);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::config::{QueueConfig, StartConfig};

    #[test]
    fn the_default_is_valid() {
        assert_eq!(ServiceConfig::default().validate(), Ok(ValidConfig::default()));
    }

    #[test]
    fn every_problem_is_reported_with_its_path() {
        let config = ServiceConfig {
            min_instances: 3,
            max_instances: 0,
            concurrency: 0,
            cooldown: Some(Duration::ZERO),
            resources: ResourceConfig {
                memory_bytes: ResourceConfig::MAX_MEMORY_BYTES + (1 << 30),
                ..ResourceConfig::default()
            },
            queue: QueueConfig {
                max_waiting: 0,
                max_wait: Duration::ZERO,
                ..QueueConfig::default()
            },
            start: StartConfig {
                timeout: Duration::ZERO,
                attempts: 0,
                retry_first: Duration::from_micros(10),
                retry_cap: Duration::ZERO,
                ..StartConfig::default()
            },
            ..ServiceConfig::default()
        };
        let problems: Vec<_> = config
            .validate()
            .unwrap_err()
            .iter()
            .map(Problem::to_string)
            .collect();
        assert_eq!(
            problems,
            [
                "max_instances is 0, must be at least 1",
                "concurrency is 0, must be at least 1",
                "queue.max_waiting is 0, must be at least 1",
                "start.attempts is 0, must be at least 1",
                "min_instances is 3, must be at most max_instances, 0",
                "resources.memory_bytes is 16385 GiB, must be at most 16384 GiB",
                "cooldown is 0 ms, must be at least 1 ms",
                "queue.max_wait is 0 ms, must be at least 1 ms",
                "start.timeout is 0 ms, must be at least 1 ms",
                "start.retry_first is 10 µs, must be at least 1 ms",
                "start.retry_cap is 0 ms, must be at least start.retry_first, 10 µs",
            ]
        );
    }

    #[test]
    fn a_cooldown_shorter_than_parking_and_waking_is_refused_where_that_is_known() {
        let mut config = ServiceConfig {
            cooldown: Some(Duration::from_millis(4)),
            ..ServiceConfig::default()
        };
        assert!(config.clone().validate().is_ok(), "nothing was said about it");
        config.ladder.ram = Some(RungCost {
            enter: Duration::from_millis(1),
            ..RungCost::RAM
        });
        let problems = config.validate().unwrap_err();
        assert_eq!(
            problems[0].to_string(),
            "cooldown is 4 ms, must be at least what it takes to park and wake, 6 ms"
        );
    }

    #[test]
    fn a_problem_of_the_scale_mode_is_one_of_the_service() {
        let mut config = ServiceConfig::default();
        config.scale.initial_instances = 2;
        let problems = config.validate().unwrap_err();
        assert_eq!(problems[0].path, "scale.initial_instances");
    }
}
