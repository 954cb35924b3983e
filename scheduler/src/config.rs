use alloc::borrow::Cow;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;
use core::time::Duration;

use crate::action::ParkLevel;
use crate::fleet::Slots;
use crate::ladder::{Dial, LadderConfig, Rung, RungCost};
use crate::scale::ScaleConfig;
use crate::units::Span;

/// The rungs in their order.
const LADDER_PATHS: [&str; Rung::COUNT] = ["ladder.paused", "ladder.ram", "ladder.disk", "ladder.stop"];
/// No instance takes longer to wake.
const MAX_WAKE: Duration = Duration::from_secs(600);

/// How one service scales. The default: one instance, started on demand, parked when the policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Instances that are awake always; at most `max_instances`. Default 0: scale to zero.
    pub min_instances: u32,
    /// Most instances, asleep or awake, those being stopped not counted. From 1. Default 1.
    pub max_instances: u32,
    /// Most requests in flight on an instance, a hard limit. From 1. Default `u32::MAX`: no limit.
    pub concurrency: u32,
    /// Pins how long an instance stays awake after its last activity, whatever the policy: at least 1 ms;
    /// `Duration::MAX` is for ever. Default: the policy decides.
    pub cooldown: Option<Duration>,
    /// Whether a quiet connection keeps its instance awake. Default: it does not.
    pub connections: OpenConnections,
    /// How deeply an idle instance sleeps. Default: in RAM.
    pub park_level: ParkLevel,
    /// What a policy weighs, and where else an idle instance may sleep.
    pub ladder: LadderConfig,
    /// How many instances are awake besides those that requests start.
    pub scale: ScaleConfig,
    /// What a new instance is started from. Default: its image.
    pub start_from: StartSource,
    /// Bounds of waiting.
    pub queue: QueueConfig,
    /// Patience with starts.
    pub start: StartConfig,
    /// Which version of the configuration this is: one that is older than what a service has is ignored. Default 0.
    pub generation: u64,
}

/// Whether an open connection on which nothing moves keeps its instance awake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OpenConnections {
    /// Only bytes keep it awake; the connection stays open across the sleep, and its next bytes wake the instance.
    #[default]
    ParkWhenQuiet,
    /// Every open connection keeps it awake.
    KeepAwake,
}

/// What a new instance of a service can be started from. A parked instance always has its own saved state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartSource {
    /// Only the image: boot.
    #[default]
    Image,
    /// A snapshot of the service: restore; if that fails, boot.
    Snapshot,
    /// The oldest instance of the service that runs: clone it; if there is none, or that fails, boot.
    Instance,
}

/// Bounds of waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Most requests that wait; those that come then are shed. From 1. Default 1,024.
    pub max_waiting: u32,
    /// Longest wait of a request; then it is shed. At least 1 ms. Default 30 s.
    pub max_wait: Duration,
    /// What a client is told that was shed because of these bounds. Default 1 s.
    pub retry_after: Duration,
}

/// Patience with starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartConfig {
    /// Longest time from `Start` to its answer. At least 1 ms. Default 10 s.
    pub timeout: Duration,
    /// Failures in a row after which the requests that wait are shed, unless another instance is awake or on its way.
    /// An instance that dies unasked counts as a failure. From 1. Default 3.
    pub attempts: u32,
    /// Pause after the first failure, doubled by each further one in a row. At least 1 ms. Default 10 ms.
    pub retry_first: Duration,
    /// Longest pause. At least `retry_first`. Default 10 s.
    pub retry_cap: Duration,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            min_instances: 0,
            max_instances: 1,
            concurrency: u32::MAX,
            cooldown: None,
            connections: OpenConnections::default(),
            park_level: ParkLevel::default(),
            ladder: LadderConfig::default(),
            scale: ScaleConfig::default(),
            start_from: StartSource::default(),
            queue: QueueConfig::default(),
            start: StartConfig::default(),
            generation: 0,
        }
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            max_waiting: 1_024,
            max_wait: Duration::from_secs(30),
            retry_after: Duration::from_secs(1),
        }
    }
}

impl Default for StartConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            attempts: 3,
            retry_first: Duration::from_millis(10),
            retry_cap: Duration::from_secs(10),
        }
    }
}

impl StartConfig {
    /// The pause after so many failures in a row.
    pub(crate) fn backoff(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.retry_first
            .saturating_mul(1 << doublings)
            .min(self.retry_cap)
    }
}

impl ServiceConfig {
    pub(crate) fn slots(&self) -> Slots {
        Slots {
            hard: self.concurrency,
            soft: self.scale.soft_concurrency,
        }
    }

    /// Checks the configuration, so that a scheduler takes it.
    ///
    /// # Errors
    /// Every problem there is, each with the path of its field.
    pub fn validate(self) -> Result<ValidConfig, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, path, message: fmt::Arguments<'_>| {
            if !holds {
                problems.push(Problem {
                    path: Cow::Borrowed(path),
                    message: alloc::fmt::format(message),
                });
            }
        };
        for (path, value) in [
            ("max_instances", self.max_instances),
            ("concurrency", self.concurrency),
            ("queue.max_waiting", self.queue.max_waiting),
            ("start.attempts", self.start.attempts),
        ] {
            require(value >= 1, path, format_args!("is {value}, must be at least 1"));
        }
        for (path, value) in [
            ("cooldown", self.cooldown.unwrap_or(Duration::MAX)),
            ("queue.max_wait", self.queue.max_wait),
            ("start.timeout", self.start.timeout),
            ("start.retry_first", self.start.retry_first),
        ] {
            let holds = value >= Duration::from_millis(1);
            require(
                holds,
                path,
                format_args!("is {}, must be at least 1 ms", Span(value)),
            );
        }
        require(
            self.min_instances <= self.max_instances,
            "min_instances",
            format_args!(
                "is {}, must be at most max_instances, {}",
                self.min_instances, self.max_instances
            ),
        );
        let (first, cap) = (self.start.retry_first, self.start.retry_cap);
        require(
            cap >= first,
            "start.retry_cap",
            format_args!(
                "is {}, must be at least start.retry_first, {}",
                Span(cap),
                Span(first)
            ),
        );
        let beta = self.ladder.dial.beta();
        require(
            beta <= Dial::MAX_BETA,
            "ladder.dial",
            format_args!("is β = {beta}, must be at most {}", Dial::MAX_BETA),
        );
        let rungs = Rung::ALL.map(|rung| self.ladder.cost(rung, self.park_level));
        let mut above: Option<RungCost> = None;
        for (path, cost) in LADDER_PATHS.into_iter().zip(rungs) {
            let Some(cost) = cost else { continue };
            let (rate, wake) =
                above.map_or((1_000, Duration::ZERO), |above| (above.rate_permille, above.wake));
            require(
                cost.rate_permille <= rate && cost.wake >= wake && cost.wake <= MAX_WAKE,
                path,
                format_args!(
                    "costs {} ‰ and wakes in {}, must cost at most {rate} ‰ and wake in {} to {}",
                    cost.rate_permille,
                    Span(cost.wake),
                    Span(wake),
                    Span(MAX_WAKE)
                ),
            );
            above = Some(cost);
        }
        let level = Rung::Park(self.park_level);
        if let (Some(cooldown), Some(cost)) = (self.cooldown, self.ladder.configured(level)) {
            let least = cost.enter.saturating_add(cost.wake);
            require(
                cooldown >= least,
                "cooldown",
                format_args!(
                    "is {}, must be at least what it takes to park and wake, {}",
                    Span(cooldown),
                    Span(least)
                ),
            );
        }
        for (path, message) in self.scale.problems(self.max_instances, self.concurrency) {
            problems.push(Problem { path, message });
        }
        if problems.is_empty() {
            Ok(ValidConfig(Arc::new(self)))
        } else {
            Err(problems)
        }
    }
}

/// A configuration that passed [`ServiceConfig::validate`]. Clones share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValidConfig(Arc<ServiceConfig>);

impl Deref for ValidConfig {
    type Target = ServiceConfig;

    fn deref(&self) -> &ServiceConfig {
        &self.0
    }
}

/// What is wrong with one field of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The field, from the top of the configuration: `start.retry_cap`.
    pub path: Cow<'static, str>,
    /// Its value and what it must be.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.message)
    }
}

impl core::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

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
                "cooldown is 0 ms, must be at least 1 ms",
                "queue.max_wait is 0 ms, must be at least 1 ms",
                "start.timeout is 0 ms, must be at least 1 ms",
                "start.retry_first is 10 µs, must be at least 1 ms",
                "min_instances is 3, must be at most max_instances, 0",
                "start.retry_cap is 0 ms, must be at least start.retry_first, 10 µs",
            ]
        );
    }

    #[test]
    fn the_pause_doubles_up_to_its_cap() {
        let start = StartConfig::default();
        let pauses: Vec<_> = [1, 2, 3, 11, 40, u32::MAX]
            .map(|n| start.backoff(n).as_millis())
            .into();
        assert_eq!(pauses, [10, 20, 40, 10_000, 10_000, 10_000]);
    }
}
