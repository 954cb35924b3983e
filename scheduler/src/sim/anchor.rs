use core::fmt;
use std::boxed::Box;
use std::string::ToString;
use std::vec::Vec;

use super::pool::{Fixed, run_pool};
use super::random::{Random, micros};
use super::trace::{ServiceTrace, Trace, TracedRequest};

/// A published case that any simulator of this kind has to reproduce.
///
/// From SimFaaS (Mahmoudi and Khazaei, 2021): requests come at random, 0.9 a second; served by a warm instance they take
/// 1.991 s on average, by a new one 2.244 s, exponentially distributed; idle instances are kept for 600 s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Anchor {
    /// The share of requests that had an instance started.
    pub cold_probability: f64,
    /// Instances on average.
    pub servers: f64,
    /// Of those idle or starting.
    pub idle: f64,
}

const SECOND_US: f64 = 1e6;
const BETWEEN_US: f64 = SECOND_US / 0.9;
const WARM_US: f64 = 1.991 * SECOND_US;
const COLD_US: f64 = 2.244 * SECOND_US;
const KEEP_US: u64 = 600_000_000;

impl Anchor {
    /// What SimFaaS publishes.
    pub const PUBLISHED: Self = Self {
        cold_probability: 0.0014,
        servers: 7.6612,
        idle: 5.8733,
    };

    /// The same case in our pool model, in which a start always takes the difference of the two means.
    pub fn simulate(requests: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut at = 0.0;
        let mut draw = || {
            at += random.exponential(BETWEEN_US);
            TracedRequest {
                at_us: micros(at),
                runs_us: micros(random.exponential(WARM_US)),
            }
        };
        let requests: Vec<_> = (0..requests).map(|_| draw()).collect();
        let busy_us: u64 = requests.iter().map(|request| request.runs_us).sum();
        let service = ServiceTrace {
            name: "anchor".to_string(),
            memory_mb: 1.0,
            requests,
        };
        let trace = Trace {
            name: "anchor".to_string(),
            services: Vec::from([service]),
        };
        let start_us = micros(COLD_US - WARM_US);
        let outcome = run_pool(&trace, start_us, |_| Box::new(Fixed { keep_us: KEEP_US }));
        let end_us = trace.end_us().max(1) as f64;
        Self {
            cold_probability: outcome.start_share(),
            servers: (outcome.idle_cost + busy_us as f64) / end_us,
            idle: outcome.idle_cost / end_us,
        }
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cold_probability,
            servers,
            idle,
        } = self;
        write!(
            f,
            "cold probability {cold_probability:.5}, {servers:.4} instances, {idle:.4} of them idle"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_case_of_simfaas_comes_out() {
        let (ours, published) = (Anchor::simulate(400_000, 7), Anchor::PUBLISHED);
        assert!(
            (ours.cold_probability - published.cold_probability).abs() < 0.0002,
            "{ours:?}"
        );
        assert!((ours.servers / published.servers - 1.0).abs() < 0.03, "{ours:?}");
        assert!((ours.idle / published.idle - 1.0).abs() < 0.03, "{ours:?}");
    }
}
