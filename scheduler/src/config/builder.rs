use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::time::Duration;

use crate::action::ParkLevel;
use crate::config::{
    OpenConnections, QueueConfig, ResourceConfig, ScaleToZero, ServiceConfig, StartConfig, StartSource,
    ValidConfig,
};
use crate::ladder::{Dial, LadderConfig};
use crate::problem::Problem;
use crate::scale::{CountRole, Flapping, ScaleMode};

/// Builds a [`ServiceConfig`] from its default. Each method is documented where its field is.
///
/// ```
/// use std::time::Duration;
/// use scheduler::{ServiceConfig, ScaleMode, StepPolicy};
///
/// let steps = StepPolicy::parse("cpu", "change", [":300/-1", "300:700/0", "700:/1"])?;
/// let config = ServiceConfig::builder()
///     .instances(0..=8)
///     .concurrency(4)
///     .cooldown(Duration::from_millis(50))
///     .scale_by(ScaleMode::Steps(steps))
///     .build();
/// assert_eq!(config.map(|config| config.max_instances), Ok(8));
///
/// let problems = ServiceConfig::builder().instances(3..=2).build();
/// let messages: Vec<_> = problems.unwrap_err().iter().map(ToString::to_string).collect();
/// assert_eq!(messages, ["min_instances is 3, must be at most max_instances, 2"]);
/// # Ok::<(), scheduler::StepError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ServiceConfigBuilder {
    config: ServiceConfig,
    scale_to_zero: Option<ScaleToZero>,
}

impl ServiceConfig {
    /// Begins with the default.
    pub fn builder() -> ServiceConfigBuilder {
        ServiceConfigBuilder::default()
    }
}

impl ServiceConfigBuilder {
    /// The least and the most instances.
    pub fn instances(mut self, range: RangeInclusive<u32>) -> Self {
        (self.config.min_instances, self.config.max_instances) = range.into_inner();
        self
    }

    /// Instances that are awake at first.
    pub fn initial_instances(mut self, instances: u32) -> Self {
        self.config.scale.initial_instances = instances;
        self
    }

    /// Requests in flight on an instance, at most.
    pub fn concurrency(mut self, requests: u32) -> Self {
        self.config.concurrency = requests;
        self
    }

    /// Requests in flight on each instance above which one more is started.
    pub fn soft_concurrency(mut self, requests: u32) -> Self {
        self.config.scale.soft_concurrency = requests;
        self
    }

    /// How long an instance stays awake after its last activity, whatever the policy.
    pub fn cooldown(mut self, after: Duration) -> Self {
        self.config.cooldown = Some(after);
        self
    }

    /// When the service may fall asleep. `Off`: the minimum is at least 1, and without a cooldown no instance falls
    /// asleep. The last one counts, wherever it stands.
    pub fn scale_to_zero(mut self, when: ScaleToZero) -> Self {
        self.scale_to_zero = Some(when);
        self
    }

    /// How deeply an idle instance sleeps.
    pub fn park_level(mut self, level: ParkLevel) -> Self {
        self.config.park_level = level;
        self
    }

    /// How dear waiting is.
    pub fn dial(mut self, dial: Dial) -> Self {
        self.config.ladder.dial = dial;
        self
    }

    /// What a policy weighs; the dial with it.
    pub fn ladder(mut self, ladder: LadderConfig) -> Self {
        self.config.ladder = ladder;
        self
    }

    /// What a new instance is started from.
    pub fn start_from(mut self, source: StartSource) -> Self {
        self.config.start_from = source;
        self
    }

    /// What computes a count, and that it is a minimum.
    pub fn scale_by(mut self, mode: ScaleMode) -> Self {
        self.config.scale.mode = mode;
        self
    }

    /// That the count is exact, and what computes it.
    pub fn scale_exactly_by(mut self, mode: ScaleMode) -> Self {
        self.config.scale.role = CountRole::Exactly;
        self.scale_by(mode)
    }

    /// How long a new instance serves without being counted in the metric.
    pub fn warm_up(mut self, after: Duration) -> Self {
        self.config.scale.warm_up = after;
        self
    }

    /// How long after a change of the count it is not lowered.
    pub fn scale_cooldown(mut self, after: Duration) -> Self {
        self.config.scale.cooldown = after;
        self
    }

    /// When to keep instances longer because parking them did not pay.
    pub fn flapping(mut self, flapping: Flapping) -> Self {
        self.config.scale.flapping = Some(flapping);
        self
    }

    /// What an instance needs, and whose it is.
    pub fn resources(mut self, resources: ResourceConfig) -> Self {
        self.config.resources = resources;
        self
    }

    /// Bounds of waiting.
    pub fn queue(mut self, queue: QueueConfig) -> Self {
        self.config.queue = queue;
        self
    }

    /// Patience with starts.
    pub fn start(mut self, start: StartConfig) -> Self {
        self.config.start = start;
        self
    }

    /// Which version of the configuration this is.
    pub fn generation(mut self, generation: u64) -> Self {
        self.config.generation = generation;
        self
    }

    /// The configuration as it is, checked or not.
    pub fn into_config(self) -> ServiceConfig {
        let mut config = self.config;
        match self.scale_to_zero {
            Some(ScaleToZero::Off) => {
                config.min_instances = config.min_instances.max(1);
                config.cooldown = config.cooldown.or(Some(Duration::MAX));
            }
            Some(ScaleToZero::OnDemand) => config.connections = OpenConnections::KeepAwake,
            Some(ScaleToZero::Idle) => config.connections = OpenConnections::ParkWhenQuiet,
            None => {}
        }
        config
    }

    /// Checks it.
    ///
    /// # Errors
    /// Every problem there is, each with the path of its field.
    pub fn build(self) -> Result<ValidConfig, Vec<Problem>> {
        self.into_config().validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_as_by_default() {
        assert_eq!(ServiceConfig::builder().into_config(), ServiceConfig::default());
    }

    #[test]
    fn scale_to_zero_is_what_the_names_say() {
        let with = |when| ServiceConfig::builder().scale_to_zero(when).into_config();
        assert_eq!(with(ScaleToZero::Off).cooldown, Some(Duration::MAX));
        assert_eq!(with(ScaleToZero::Off).min_instances, 1);
        assert_eq!(
            with(ScaleToZero::OnDemand).connections,
            OpenConnections::KeepAwake
        );
        assert_eq!(
            with(ScaleToZero::Idle).connections,
            OpenConnections::ParkWhenQuiet
        );
    }

    #[test]
    fn scale_to_zero_means_the_same_wherever_it_stands() {
        let (begin, keep) = (ServiceConfig::builder, Duration::from_millis(50));
        let off = begin().scale_to_zero(ScaleToZero::Off);
        let last = begin()
            .instances(0..=8)
            .cooldown(keep)
            .scale_to_zero(ScaleToZero::Off);
        let last = last.into_config();
        assert_eq!(off.clone().instances(0..=8).cooldown(keep).into_config(), last);
        assert_eq!((last.min_instances, last.cooldown), (1, Some(keep)));
        let idle = |builder: ServiceConfigBuilder| builder.scale_to_zero(ScaleToZero::Idle).into_config();
        assert_eq!(idle(off), idle(begin()));
    }
}
