use alloc::format;
use core::time::Duration;

use crate::config::ServiceConfig;
use crate::problem::Problems;
use crate::scale::{Flapping, KpaConfig, Milli, Staffing, StepPolicy, TargetTracking};
use crate::units::Span;

/// How many instances a service has awake. The default: as many as its requests need, one started for each that finds no
/// room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleConfig {
    /// What else computes a count. Default: nothing.
    pub mode: ScaleMode,
    /// What that count means. Default: the least.
    pub role: CountRole,
    /// Instances that are awake when the service is new, until so many were or `start.timeout` is over. At most
    /// `max_instances` and [`MAX_AWAKE`](crate::ServiceConfig::MAX_AWAKE). A service [adopted](crate::Event::ServiceAdopted) with an instance that has ever run is not new.
    /// Default 0.
    pub initial_instances: u32,
    /// Requests in flight on each instance above which one more is started; one takes more while that starts, up to
    /// `concurrency`. From 1. Default `u32::MAX`: only a request without a slot starts one.
    pub soft_concurrency: u32,
    /// How long a new instance serves without being counted in the metric of steps and targets; the other modes measure
    /// the service as a whole. Default 0.
    pub warm_up: Duration,
    /// How long after a change of the count it is not lowered. Default 0.
    pub cooldown: Duration,
    /// When to keep instances longer because parking them did not pay. Default: never; a policy that learns hedges by
    /// itself.
    pub flapping: Option<Flapping>,
}

/// What computes the count of instances that are to be awake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScaleMode {
    /// Nothing: requests start instances, and idle ones fall asleep.
    #[default]
    Requests,
    /// Steps of a metric, as Unikraft Cloud has them.
    Steps(StepPolicy),
    /// A target for a metric, as the Kubernetes autoscaler has it.
    Target(TargetTracking),
    /// Two windows of the concurrency, as Knative has them.
    Kpa(KpaConfig),
    /// Spare slots for bursts of a great load.
    Staffing(Staffing),
}

/// What a computed count means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CountRole {
    /// So many are awake at least. Requests that find no room start more, and what is idle above it falls asleep as the
    /// policy says.
    #[default]
    AtLeast,
    /// So many are awake. Requests wait for them, except that the first one wakes a service that sleeps; what is idle above
    /// it falls asleep at once, whatever the policy and a pinned cooldown say.
    Exactly,
}

impl Default for ScaleConfig {
    fn default() -> Self {
        Self {
            mode: ScaleMode::default(),
            role: CountRole::default(),
            initial_instances: 0,
            soft_concurrency: u32::MAX,
            warm_up: Duration::ZERO,
            cooldown: Duration::ZERO,
            flapping: None,
        }
    }
}

impl ScaleMode {
    /// How often the count is computed.
    pub(crate) fn interval(&self) -> Option<Duration> {
        match self {
            Self::Requests => None,
            Self::Steps(steps) => Some(steps.interval),
            Self::Target(target) => Some(target.interval),
            Self::Kpa(kpa) => Some(kpa.tick),
            Self::Staffing(staffing) => Some(staffing.interval),
        }
    }

    /// How far back it looks, beyond the last interval.
    pub(crate) fn window(&self) -> Duration {
        match self {
            Self::Requests | Self::Steps(_) | Self::Target(_) => Duration::ZERO,
            Self::Kpa(kpa) => kpa.stable_window,
            Self::Staffing(staffing) => staffing.window,
        }
    }
}

/// The least time between two counts.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// Most intervals in a window.
const MAX_SAMPLES: u32 = 10_000;

impl ScaleConfig {
    /// Finds everything that is wrong.
    pub(crate) fn check(&self, problems: &mut Problems, max_instances: u32, concurrency: u32) {
        let initial = self.initial_instances;
        let message = format_args!("is {initial}, must be at most max_instances, {max_instances}");
        problems.unless(initial <= max_instances, "scale.initial_instances", message);
        let most = ServiceConfig::MAX_AWAKE;
        let message = format_args!("is {initial}, must be at most {most}");
        problems.unless(initial <= most, "scale.initial_instances", message);
        let soft = self.soft_concurrency;
        problems.at_least_one("scale.soft_concurrency", soft);
        let message = format_args!("is {soft}, must be at most concurrency, {concurrency}");
        let holds = soft == u32::MAX || soft <= concurrency;
        problems.unless(holds, "scale.soft_concurrency", message);
        let holds = self.mode != ScaleMode::Requests || self.role == CountRole::AtLeast;
        let message = format_args!("is exactly, but no scale.mode computes a count");
        problems.unless(holds, "scale.role", message);
        if let Some(flapping) = &self.flapping {
            check_flapping(problems, flapping);
        }
        match &self.mode {
            ScaleMode::Requests => {}
            ScaleMode::Steps(steps) => {
                problems.lasts("scale.mode.steps.interval", steps.interval, MIN_INTERVAL);
                for (path, message) in steps.problems() {
                    problems.push(format!("scale.mode.steps.{path}"), message);
                }
            }
            ScaleMode::Target(target) => check_target(problems, target),
            ScaleMode::Kpa(kpa) => check_kpa(problems, kpa),
            ScaleMode::Staffing(staffing) => {
                let interval = staffing.interval;
                problems.lasts("scale.mode.staffing.interval", interval, MIN_INTERVAL);
                check_window(problems, "scale.mode.staffing.window", staffing.window, interval);
            }
        }
    }
}

/// A window holds one sample of each interval.
fn check_window(problems: &mut Problems, path: &'static str, window: Duration, interval: Duration) {
    problems.lasts(path, window, interval);
    let most = interval.saturating_mul(MAX_SAMPLES);
    let message = format_args!(
        "is {}, must be at most {MAX_SAMPLES} intervals, {}",
        Span(window),
        Span(most)
    );
    problems.unless(window <= most, path, message);
}

fn check_flapping(problems: &mut Problems, flapping: &Flapping) {
    let (enter, leave) = (flapping.enter, flapping.leave);
    let message = format_args!("is {enter}, must be above leave, {leave}");
    problems.unless(enter > leave, "scale.flapping.enter", message);
    problems.lasts("scale.flapping.window", flapping.window, Duration::from_millis(1));
}

fn check_target(problems: &mut Problems, target: &TargetTracking) {
    problems.lasts("scale.mode.target.interval", target.interval, MIN_INTERVAL);
    problems.above("scale.mode.target.target", target.target, Milli(0));
    problems.percent("scale.mode.target.tolerance_percent", target.tolerance_percent, 0);
    problems.percent("scale.mode.target.max_down_percent", target.max_down_percent, 1);
    problems.at_least_one("scale.mode.target.max_up", target.max_up);
}

fn check_kpa(problems: &mut Problems, kpa: &KpaConfig) {
    problems.lasts("scale.mode.kpa.tick", kpa.tick, MIN_INTERVAL);
    check_window(
        problems,
        "scale.mode.kpa.stable_window",
        kpa.stable_window,
        kpa.tick,
    );
    problems.above("scale.mode.kpa.capacity", kpa.capacity, Milli(0));
    problems.percent("scale.mode.kpa.utilisation_percent", kpa.utilisation_percent, 1);
    problems.percent("scale.mode.kpa.panic_window_percent", kpa.panic_window_percent, 1);
    let threshold = kpa.panic_threshold_percent;
    let message = format_args!("is {threshold} %, must be above 100 %");
    problems.unless(threshold > 100, "scale.mode.kpa.panic_threshold_percent", message);
    problems.above("scale.mode.kpa.max_up_rate", kpa.max_up_rate, Milli(1_000));
    problems.above("scale.mode.kpa.max_down_rate", kpa.max_down_rate, Milli(1_000));
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use super::*;

    fn problems(config: &ScaleConfig) -> Vec<String> {
        let mut found = Problems::default();
        config.check(&mut found, 2, 10);
        let problems = found.or(()).err().unwrap_or_default();
        problems.iter().map(ToString::to_string).collect()
    }

    fn with(mode: ScaleMode) -> ScaleConfig {
        ScaleConfig {
            mode,
            ..ScaleConfig::default()
        }
    }

    #[test]
    fn every_mode_is_valid_as_it_comes() {
        assert_eq!(problems(&ScaleConfig::default()), [""; 0]);
        assert_eq!(
            problems(&with(ScaleMode::Target(TargetTracking::default()))),
            [""; 0]
        );
        assert_eq!(problems(&with(ScaleMode::Kpa(KpaConfig::default()))), [""; 0]);
        assert_eq!(problems(&with(ScaleMode::Staffing(Staffing::default()))), [""; 0]);
    }

    #[test]
    fn every_problem_is_reported_with_its_path() {
        let config = ScaleConfig {
            role: CountRole::Exactly,
            initial_instances: 3,
            soft_concurrency: 11,
            flapping: Some(Flapping {
                enter: 2,
                leave: 2,
                window: Duration::ZERO,
                ..Flapping::default()
            }),
            ..ScaleConfig::default()
        };
        assert_eq!(
            problems(&config),
            [
                "scale.initial_instances is 3, must be at most max_instances, 2",
                "scale.soft_concurrency is 11, must be at most concurrency, 10",
                "scale.role is exactly, but no scale.mode computes a count",
                "scale.flapping.enter is 2, must be above leave, 2",
                "scale.flapping.window is 0 ms, must be at least 1 ms",
            ]
        );
    }

    #[test]
    fn the_problems_of_a_mode_are_reported_with_their_paths() {
        let steps = StepPolicy::parse("cpu", "change", ["0:10/1", "20:30/2"]).expect("of the right form");
        let steps = ScaleMode::Steps(StepPolicy {
            interval: Duration::ZERO,
            ..steps
        });
        assert_eq!(
            problems(&with(steps)),
            [
                "scale.mode.steps.interval is 0 ms, must be at least 10 ms",
                "scale.mode.steps.steps[1] 20:30/2 leaves a gap after 0:10/1, from 10 to 20",
            ]
        );
        let target = ScaleMode::Target(TargetTracking {
            target: Milli(0),
            tolerance_percent: 101,
            max_down_percent: 0,
            max_up: 0,
            ..TargetTracking::default()
        });
        assert_eq!(
            problems(&with(target)),
            [
                "scale.mode.target.target is 0, must be above 0",
                "scale.mode.target.tolerance_percent is 101 %, must be 0 to 100 %",
                "scale.mode.target.max_down_percent is 0 %, must be 1 to 100 %",
                "scale.mode.target.max_up is 0, must be at least 1",
            ]
        );
        let kpa = ScaleMode::Kpa(KpaConfig {
            stable_window: Duration::from_secs(1),
            utilisation_percent: 0,
            panic_threshold_percent: 100,
            max_up_rate: Milli(1_000),
            ..KpaConfig::default()
        });
        assert_eq!(
            problems(&with(kpa)),
            [
                "scale.mode.kpa.stable_window is 1 s, must be at least 2 s",
                "scale.mode.kpa.utilisation_percent is 0 %, must be 1 to 100 %",
                "scale.mode.kpa.panic_threshold_percent is 100 %, must be above 100 %",
                "scale.mode.kpa.max_up_rate is 1, must be above 1",
            ]
        );
        let staffing = ScaleMode::Staffing(Staffing {
            window: Duration::from_secs(86_400),
            ..Staffing::default()
        });
        assert_eq!(
            problems(&with(staffing)),
            ["scale.mode.staffing.window is 86400 s, must be at most 10000 intervals, 20000 s"]
        );
    }
}
