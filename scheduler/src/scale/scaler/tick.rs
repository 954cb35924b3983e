use core::time::Duration;

use crate::scale::kpa::{KpaConfig, KpaInput};
use crate::scale::scaler::{Awake, Count, Scaler, State};
use crate::scale::step::Direction;
use crate::scale::window::Sample;
use crate::scale::{
    CountBasis, KpaMetric, Metric, Milli, ScaleConfig, ScaleMode, Staffing, StepPolicy, TargetTracking,
};
use crate::time::Timestamp;

/// Sums over the counted instances, in thousandths.
#[derive(Debug, Default)]
struct Total {
    counted: u32,
    in_flight: u64,
    rate: u64,
    cpu: u64,
    /// Counted instances that reported their use since the last tick.
    reported: u32,
}

/// What happened since the last tick.
#[derive(Debug)]
struct Since {
    load: Sample,
    queue: Sample,
    total: Total,
}

impl Scaler {
    /// Computes the count, and says whether it changed. The owner did not stand still since the second of the times.
    /// `bounds` are the least and the most instances there may be.
    pub(crate) fn tick(
        &mut self,
        config: &ScaleConfig,
        (now, resumed_at): (Timestamp, Timestamp),
        awake: Awake,
        bounds: (u32, u32),
    ) -> bool {
        let passed = now.saturating_since(self.ticked_at);
        let was_interrupted = self.ticked_at < resumed_at;
        self.ticked_at = now;
        let since = Since {
            load: self.load.take(now),
            queue: self.queue.take(now),
            total: self.take_instances(now, config.warm_up),
        };
        if was_interrupted || is_gap(passed, config.mode.interval()) {
            // The clock jumped or the owner stood still: that says nothing about how busy the service is.
            self.window.clear();
            return false;
        }
        self.window.push(since.load, config.mode.window());
        let count = match &config.mode {
            ScaleMode::Requests => None,
            ScaleMode::Steps(steps) => self.by_steps(steps, awake, &since),
            ScaleMode::Target(target) => self.by_target(target, now, awake, &since),
            ScaleMode::Kpa(kpa) => self.by_kpa(kpa, now, awake),
            ScaleMode::Staffing(staffing) => Some(self.by_staffing(staffing, awake)),
        };
        count.is_some_and(|count| self.adopt(config, now, count, bounds))
    }

    fn by_steps(&self, steps: &StepPolicy, awake: Awake, since: &Since) -> Option<Count> {
        let (value, counted) = since.average(steps.metric);
        let basis = CountBasis::Steps {
            metric: steps.metric,
            value,
            counted,
        };
        let last = match self.state {
            State::Steps(last) => last,
            _ => None,
        };
        let desired = if counted > 0 && steps.covers(value) {
            steps.desired(value, counted, awake.all(), last)?
        } else if since.load.area == 0 {
            // Nothing to do and no step for that: requests start what they need.
            0
        } else {
            return None;
        };
        Some(Count { desired, basis })
    }

    fn by_target(
        &mut self,
        target: &TargetTracking,
        now: Timestamp,
        awake: Awake,
        since: &Since,
    ) -> Option<Count> {
        let (value, counted) = since.average(target.metric);
        let basis = CountBasis::Target {
            metric: target.metric,
            value,
            target: target.target,
        };
        let State::Target(state) = &mut self.state else {
            return None;
        };
        let fresh = awake.all().saturating_sub(counted);
        let desired = match counted {
            0 if since.load.area > 0 => return None,
            0 => 0,
            _ => state.tick(target, now, value, counted, fresh),
        };
        Some(Count { desired, basis })
    }

    fn by_kpa(&mut self, kpa: &KpaConfig, now: Timestamp, awake: Awake) -> Option<Count> {
        let metric = |sample: Sample| match kpa.metric {
            KpaMetric::Concurrency => sample.average(),
            KpaMetric::RequestRate => sample.rate(),
        };
        let input = KpaInput {
            stable: metric(self.window.last(kpa.stable_window)),
            panic: metric(self.window.last(kpa.panic_window())),
            ready: awake.serving,
        };
        let State::Kpa(state) = &mut self.state else {
            return None;
        };
        let verdict = state.tick(kpa, now, &input);
        let basis = CountBasis::Kpa {
            stable: input.stable,
            panic: input.panic,
            is_panicking: verdict.is_panicking,
            excess_burst: verdict.excess_burst,
        };
        Some(Count {
            desired: verdict.desired,
            basis,
        })
    }

    fn by_staffing(&self, staffing: &Staffing, awake: Awake) -> Count {
        let load = self.window.last(staffing.window).average();
        Count {
            desired: staffing.count(load, awake.slots, awake.regret),
            basis: CountBasis::Staffing { load },
        }
    }

    /// Takes a computed count, unless it is lower and the last change is too recent; says whether it changed.
    fn adopt(&mut self, config: &ScaleConfig, now: Timestamp, mut count: Count, bounds: (u32, u32)) -> bool {
        let (least, most) = bounds;
        count.desired = count.desired.max(least).min(most);
        let before = self.count.desired;
        let rests = self
            .changed_at
            .is_some_and(|at| now.saturating_since(at) < config.cooldown);
        if count.desired < before && rests {
            return false;
        }
        self.count = count;
        if count.desired == before {
            return false;
        }
        self.changed_at = Some(now);
        if let State::Steps(last) = &mut self.state {
            let is_up = count.desired > before;
            *last = Some(if is_up { Direction::Up } else { Direction::Down });
        }
        true
    }

    fn take_instances(&mut self, now: Timestamp, warm_up: Duration) -> Total {
        let mut total = Total::default();
        for gauge in self.instances.values_mut() {
            let (sample, cpu) = (gauge.in_flight.take(now), gauge.cpu.take());
            if now.saturating_since(gauge.ready_at) < warm_up {
                continue;
            }
            total.counted = total.counted.saturating_add(1);
            total.in_flight = total.in_flight.saturating_add(sample.average().0);
            total.rate = total.rate.saturating_add(sample.rate().0);
            if let Some(cpu) = cpu {
                total.cpu = total.cpu.saturating_add(cpu.0);
                total.reported = total.reported.saturating_add(1);
            }
        }
        total
    }
}

impl Since {
    /// The average of the metric over the counted instances, and how many they are.
    fn average(&self, metric: Metric) -> (Milli, u32) {
        let total = &self.total;
        let (sum, over) = match metric {
            Metric::Cpu => (total.cpu, total.reported),
            Metric::InFlight => (
                total.in_flight.saturating_add(self.queue.average().0),
                total.counted,
            ),
            Metric::RequestRate => (total.rate, total.counted),
        };
        (Milli(sum.checked_div(u64::from(over)).unwrap_or(0)), over)
    }
}

/// Whether so much time between two ticks is no measurement.
fn is_gap(passed: Duration, interval: Option<Duration>) -> bool {
    const TICKS: u32 = 8;
    interval.is_some_and(|interval| passed > interval.saturating_mul(TICKS))
}
