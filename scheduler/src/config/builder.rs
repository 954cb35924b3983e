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
pub struct ServiceConfigBuilder(ServiceConfig);

impl ServiceConfig {
    /// Begins with the default.
    pub fn builder() -> ServiceConfigBuilder {
        ServiceConfigBuilder::default()
    }
}

impl ServiceConfigBuilder {
    /// The least and the most instances.
    pub fn instances(mut self, range: RangeInclusive<u32>) -> Self {
        (self.0.min_instances, self.0.max_instances) = range.into_inner();
        self
    }

    /// Instances that are awake at first.
    pub fn initial_instances(mut self, instances: u32) -> Self {
        self.0.scale.initial_instances = instances;
        self
    }

    /// Requests in flight on an instance, at most.
    pub fn concurrency(mut self, requests: u32) -> Self {
        self.0.concurrency = requests;
        self
    }

    /// Requests in flight on each instance above which one more is started.
    pub fn soft_concurrency(mut self, requests: u32) -> Self {
        self.0.scale.soft_concurrency = requests;
        self
    }

    /// How long an instance stays awake after its last activity, whatever the policy.
    pub fn cooldown(mut self, after: Duration) -> Self {
        self.0.cooldown = Some(after);
        self
    }

    /// When the service may fall asleep. `Off` makes the minimum 1, unless it is higher.
    pub fn scale_to_zero(mut self, when: ScaleToZero) -> Self {
        match when {
            ScaleToZero::Off => {
                self.0.min_instances = self.0.min_instances.max(1);
                self.0.cooldown = Some(Duration::MAX);
            }
            ScaleToZero::OnDemand => self.0.connections = OpenConnections::KeepAwake,
            ScaleToZero::Idle => self.0.connections = OpenConnections::ParkWhenQuiet,
        }
        self
    }

    /// How deeply an idle instance sleeps.
    pub fn park_level(mut self, level: ParkLevel) -> Self {
        self.0.park_level = level;
        self
    }

    /// How dear waiting is.
    pub fn dial(mut self, dial: Dial) -> Self {
        self.0.ladder.dial = dial;
        self
    }

    /// What a policy weighs; the dial with it.
    pub fn ladder(mut self, ladder: LadderConfig) -> Self {
        self.0.ladder = ladder;
        self
    }

    /// What a new instance is started from.
    pub fn start_from(mut self, source: StartSource) -> Self {
        self.0.start_from = source;
        self
    }

    /// What computes a count, and that it is a minimum.
    pub fn scale_by(mut self, mode: ScaleMode) -> Self {
        self.0.scale.mode = mode;
        self
    }

    /// That the count is exact, and what computes it.
    pub fn scale_exactly_by(mut self, mode: ScaleMode) -> Self {
        self.0.scale.role = CountRole::Exactly;
        self.scale_by(mode)
    }

    /// How long a new instance serves without being counted in the metric.
    pub fn warm_up(mut self, after: Duration) -> Self {
        self.0.scale.warm_up = after;
        self
    }

    /// How long after a change of the count it is not lowered.
    pub fn scale_cooldown(mut self, after: Duration) -> Self {
        self.0.scale.cooldown = after;
        self
    }

    /// When to keep instances longer because parking them did not pay.
    pub fn flapping(mut self, flapping: Flapping) -> Self {
        self.0.scale.flapping = Some(flapping);
        self
    }

    /// What an instance needs, and whose it is.
    pub fn resources(mut self, resources: ResourceConfig) -> Self {
        self.0.resources = resources;
        self
    }

    /// Bounds of waiting.
    pub fn queue(mut self, queue: QueueConfig) -> Self {
        self.0.queue = queue;
        self
    }

    /// Patience with starts.
    pub fn start(mut self, start: StartConfig) -> Self {
        self.0.start = start;
        self
    }

    /// Which version of the configuration this is.
    pub fn generation(mut self, generation: u64) -> Self {
        self.0.generation = generation;
        self
    }

    /// The configuration as it is, checked or not.
    pub fn into_config(self) -> ServiceConfig {
        self.0
    }

    /// Checks it.
    ///
    /// # Errors
    /// Every problem there is, each with the path of its field.
    pub fn build(self) -> Result<ValidConfig, Vec<Problem>> {
        self.0.validate()
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
}
