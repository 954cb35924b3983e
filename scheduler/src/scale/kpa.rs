#[cfg(test)]
mod tests;
mod zero;

use core::time::Duration;

use crate::scale::Milli;
use crate::scale::kpa::zero::Zero;
use crate::scale::window::SlidingMax;
use crate::time::Timestamp;

/// Scales as the Knative pod autoscaler does, with its published numbers as defaults.
///
/// Every `tick` the requests in the system are averaged over a stable and a panic window, and divided by the target of an
/// instance. When the panic window asks for `panic_threshold_percent` of what is ready, the count only rises, until that
/// was not so for a whole stable window. Between ticks only the first request of a sleeping service starts an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KpaConfig {
    /// What is measured. Default: concurrency.
    pub metric: KpaMetric,
    /// What one instance can do: requests in flight, or requests per second. Above 0. Default 100.
    pub capacity: Milli,
    /// How much of that is aimed at, in percent. 1 to 100, default 70.
    pub utilisation_percent: u32,
    /// How often the count is computed. At least 10 ms. Default 2 s.
    pub tick: Duration,
    /// How far back the average looks. One to 10,000 `tick`s. Default 60 s.
    pub stable_window: Duration,
    /// The panic window, in percent of the stable one. 1 to 100, default 10.
    pub panic_window_percent: u32,
    /// Panic at so many percent of what is ready. Above 100, default 200.
    pub panic_threshold_percent: u32,
    /// How many times as many instances one tick may ask for. Above 1. Default 1,000.
    pub max_up_rate: Milli,
    /// How many times fewer instances one tick may leave. Above 1. Default 2.
    pub max_down_rate: Milli,
    /// The burst that is to find room at any time. Default 211 requests.
    pub target_burst: TargetBurst,
    /// Least count above zero. Default 0: no such bound.
    pub activation_instances: u32,
    /// A lower count is taken once every count of this span was lower. Default none.
    pub scale_down_delay: Duration,
    /// How long requests must have been buffered before the last instance goes. Default 30 s.
    pub zero_grace: Duration,
    /// How long the last instance stays in any case. Default none.
    pub last_retention: Duration,
}

/// What the Knative mode measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KpaMetric {
    /// Requests waiting and in flight.
    #[default]
    Concurrency,
    /// Requests that arrive per second.
    RequestRate,
}

/// The burst for which there is to be room. Where there is none, requests are buffered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetBurst {
    /// None: requests are buffered only at zero.
    None,
    /// So many requests.
    Requests(u32),
    /// Any: requests are buffered always.
    Unlimited,
}

impl Default for KpaConfig {
    fn default() -> Self {
        Self {
            metric: KpaMetric::default(),
            capacity: Milli::from_units(100),
            utilisation_percent: 70,
            tick: Duration::from_secs(2),
            stable_window: Duration::from_secs(60),
            panic_window_percent: 10,
            panic_threshold_percent: 200,
            max_up_rate: Milli::from_units(1_000),
            max_down_rate: Milli::from_units(2),
            target_burst: TargetBurst::Requests(211),
            activation_instances: 0,
            scale_down_delay: Duration::ZERO,
            zero_grace: Duration::from_secs(30),
            last_retention: Duration::ZERO,
        }
    }
}

impl KpaConfig {
    pub(crate) fn panic_window(&self) -> Duration {
        self.stable_window.saturating_mul(self.panic_window_percent) / 100
    }

    fn target(&self) -> Milli {
        Milli(
            (self
                .capacity
                .0
                .saturating_mul(u64::from(self.utilisation_percent))
                / 100)
                .max(1),
        )
    }

    /// How many more requests fit than are to fit; negative: bursts are buffered.
    fn excess_burst(&self, input: &KpaInput) -> i64 {
        let burst = match self.target_burst {
            TargetBurst::None => return 0,
            TargetBurst::Unlimited => return -1,
            TargetBurst::Requests(burst) => i128::from(burst) * 1_000,
        };
        let room = i128::from(input.ready) * i128::from(self.capacity.0);
        let excess = (room - burst - i128::from(input.panic.0)).div_euclid(1_000);
        i64::try_from(excess).unwrap_or(if excess < 0 { i64::MIN } else { i64::MAX })
    }
}

/// What one tick sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KpaInput {
    /// The metric over the stable window, of the whole service.
    pub(crate) stable: Milli,
    /// The same over the panic window.
    pub(crate) panic: Milli,
    /// Instances that serve.
    pub(crate) ready: u32,
}

/// What one tick says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KpaVerdict {
    pub(crate) desired: u32,
    pub(crate) is_panicking: bool,
    pub(crate) excess_burst: i64,
}

/// What the mode remembers from tick to tick.
#[derive(Debug, Default)]
pub(crate) struct KpaState {
    /// When panic was last called for, while it lasts.
    panic_at: Option<Timestamp>,
    panic_max: u32,
    delay: SlidingMax,
    zero: Zero,
}

impl KpaState {
    /// What is there when it begins: more than one instance is kept by a panic until there are numbers.
    pub(crate) fn begin(now: Timestamp, ready: u32) -> Self {
        Self {
            panic_at: (ready > 1).then_some(now),
            panic_max: ready,
            ..Self::default()
        }
    }

    pub(crate) fn tick(&mut self, config: &KpaConfig, now: Timestamp, input: &KpaInput) -> KpaVerdict {
        let ready = u64::from(input.ready.max(1));
        let most = bounded((u128::from(config.max_up_rate.0) * u128::from(ready)).div_ceil(1_000));
        let least = bounded(u128::from(ready) * 1_000 / u128::from(config.max_down_rate.0.max(1)));
        let (stable, panic) = (
            input.stable.div_ceil(config.target()),
            input.panic.div_ceil(config.target()),
        );
        let limit = |count: u32| {
            let limited = count.max(least).min(most);
            if count > 0 {
                limited.max(config.activation_instances)
            } else {
                limited
            }
        };
        self.watch_panic(config, now, panic, ready);
        let mut desired = limit(stable);
        if self.panic_at.is_some() {
            self.panic_max = self.panic_max.max(desired).max(limit(panic));
            desired = self.panic_max;
        }
        if !config.scale_down_delay.is_zero() {
            desired = self.delay.record(now, desired, config.scale_down_delay);
        }
        let excess_burst = config.excess_burst(input);
        KpaVerdict {
            desired: self.zero.settle(config, now, desired, excess_burst),
            is_panicking: self.panic_at.is_some(),
            excess_burst,
        }
    }

    fn watch_panic(&mut self, config: &KpaConfig, now: Timestamp, panic: u32, ready: u64) {
        if u64::from(panic) * 100 >= u64::from(config.panic_threshold_percent) * ready {
            self.panic_at = Some(now);
        } else if self.panic_at.is_some_and(|at| at + config.stable_window < now) {
            self.panic_at = None;
            self.panic_max = 0;
        }
    }
}

fn bounded(count: u128) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
