use core::fmt;
use core::str::FromStr;
use std::string::{String, ToString};
use std::vec::Vec;

use super::minutes::{Function, QUANTILES, Trigger};
use super::{ServiceTrace, TracedRequest};
use crate::sim::random::{Random, micros};

/// When, inside a minute, the invocations come that a trace only counts. A modelling choice: a policy has to hold in
/// all of them.
///
/// Timers come evenly spaced from a phase of their own in each model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Arrivals {
    /// In clumps at random moments: of three on average and 30 ms apart for HTTP, of eight and 10 ms apart for queues
    /// and events. Timers are late by up to 40 ms.
    Clump,
    /// Each at a random moment.
    Uniform,
    /// Evenly spaced.
    Equi,
}

impl Arrivals {
    /// Every model.
    pub const ALL: [Self; 3] = [Self::Clump, Self::Uniform, Self::Equi];
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clump => "clump",
            Self::Uniform => "uniform",
            Self::Equi => "equi",
        })
    }
}

/// A text that names no [`Arrivals`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownArrivals {
    /// What was given.
    pub text: String,
}

impl fmt::Display for UnknownArrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "read arrival model {:?}: must be clump, uniform or equi",
            self.text
        )
    }
}

impl core::error::Error for UnknownArrivals {}

impl FromStr for Arrivals {
    type Err = UnknownArrivals;

    fn from_str(text: &str) -> Result<Self, UnknownArrivals> {
        let found = Self::ALL.into_iter().find(|model| model.to_string() == text);
        found.ok_or_else(|| UnknownArrivals {
            text: text.to_string(),
        })
    }
}

const MINUTE_US: u64 = 60_000_000;
const TIMER_JITTER_US: f64 = 40_000.0;

/// The requests of one function; `stream` sets its random numbers apart from those of the others.
pub(super) fn draw(function: &Function, model: Arrivals, seed: u64, stream: u64) -> ServiceTrace {
    let mut random = Random::of_stream(seed, stream);
    let times = times(function, model, &mut random);
    let requests = times.into_iter().map(|at_us| TracedRequest {
        at_us,
        runs_us: duration_us(&function.durations_ms, random.unit()),
    });
    ServiceTrace {
        name: function.name.clone(),
        memory_mb: function.memory_mb,
        requests: requests.collect(),
    }
}

fn times(function: &Function, model: Arrivals, random: &mut Random) -> Vec<u64> {
    let mut times = Vec::new();
    let phase = micros(random.unit() * MINUTE_US as f64);
    for &(minute, count) in &function.counts {
        let base = minute * MINUTE_US;
        let spaced = |i: u64| base + (phase + i * MINUTE_US / count) % MINUTE_US;
        let timer = function.trigger == Trigger::Timer;
        match model {
            Arrivals::Equi if !timer => times.extend((0..count).map(spaced)),
            Arrivals::Uniform if !timer => {
                times.extend((0..count).map(|_| base + micros(random.unit() * MINUTE_US as f64)));
            }
            _ if timer => {
                times.extend((0..count).map(|i| spaced(i) + micros(random.unit() * TIMER_JITTER_US)));
            }
            _ => clumps(&mut times, function.trigger, base, count, random),
        }
    }
    times.sort_unstable();
    times
}

fn clumps(times: &mut Vec<u64>, trigger: Trigger, base: u64, count: u64, random: &mut Random) {
    let (mean, apart_us) = match trigger {
        Trigger::Http => (3.0, 30_000.0),
        Trigger::Timer | Trigger::Other => (8.0, 10_000.0),
    };
    let mut left = count;
    while left > 0 {
        let size = random.geometric(mean).min(left);
        left -= size;
        let mut at = base as f64 + random.unit() * MINUTE_US as f64;
        for _ in 0..size {
            times.push(micros(at));
            at += random.exponential(apart_us);
        }
    }
}

/// The duration at a quantile, straight between the known ones; at least 1 µs.
fn duration_us(known_ms: &[f64; 7], quantile: f64) -> u64 {
    let upper = QUANTILES
        .iter()
        .skip(1)
        .position(|q| quantile <= *q)
        .map_or(6, |below| below + 1);
    let (from, to) = (QUANTILES[upper - 1], QUANTILES[upper]);
    let share = (quantile - from) / (to - from);
    let ms = known_ms[upper - 1] + (known_ms[upper] - known_ms[upper - 1]) * share;
    micros(ms * 1_000.0).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(trigger: Trigger) -> Function {
        Function {
            name: "f".to_string(),
            trigger,
            memory_mb: 1.0,
            durations_ms: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
            counts: Vec::from([(0, 6), (3, 600)]),
        }
    }

    #[test]
    fn a_model_is_read_as_it_is_written() {
        for model in Arrivals::ALL {
            assert_eq!(model.to_string().parse(), Ok(model));
        }
        let unknown = "poisson".parse::<Arrivals>().map_err(|error| error.to_string());
        assert_eq!(
            unknown,
            Err("read arrival model \"poisson\": must be clump, uniform or equi".into())
        );
    }

    #[test]
    fn every_counted_invocation_comes_once_and_in_order() {
        for trigger in [Trigger::Timer, Trigger::Http, Trigger::Other] {
            for model in Arrivals::ALL {
                let drawn = draw(&function(trigger), model, 7, 0);
                assert_eq!(drawn.requests.len(), 606);
                assert!(drawn.requests.is_sorted_by_key(|request| request.at_us));
                let runs = drawn.requests.iter().map(|request| request.runs_us);
                assert!(runs.clone().all(|us| (1_000..=7_000).contains(&us)));
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_requests() {
        let draw = |seed| draw(&function(Trigger::Http), Arrivals::Clump, seed, 0).requests;
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn timers_keep_their_phase_from_minute_to_minute() {
        let mut timer = function(Trigger::Timer);
        timer.counts = (0..50).map(|minute| (minute, 1)).collect();
        let drawn = draw(&timer, Arrivals::Clump, 7, 0);
        for pair in drawn.requests.windows(2) {
            let gap = pair[1].at_us - pair[0].at_us;
            assert!(gap.abs_diff(MINUTE_US) <= 40_000, "{gap}");
        }
    }
}
