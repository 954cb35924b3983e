use core::time::Duration;
use std::string::ToString;
use std::vec::Vec;

use super::config::LiveConfig;
use super::faults::Faults;
use super::run::{LiveCounts, run_live};
use crate::action::ParkLevel;
use crate::config::{ResourceConfig, ServiceConfig, StartSource, ValidConfig};
use crate::event::Event;
use crate::ids::ServiceId;
use crate::ladder::{Dial, LadderConfig, RungCost};
use crate::limits::{LimitsConfig, NodeConfig, RateLimit};
use crate::policy::LearnedSki;
use crate::scheduler::Settings;
use crate::sim::random::{Random, micros};
use crate::sim::trace::{ServiceTrace, Trace, TracedRequest};

/// Random services, random requests and random changes of configuration, in a world where things go wrong; every rule
/// is checked after every event.
#[derive(Clone, Copy, Debug)]
pub struct Chaos {
    /// At least so many events.
    pub events: u64,
    /// How often each kind of fault happens, from 0 to 1.
    pub faults: f64,
    /// Where random numbers begin.
    pub seed: u64,
}

const SERVICES: u64 = 20;
/// Each request comes and ends.
const EVENTS_PER_REQUEST: u64 = 2;
/// Requests of a service between two changes of its configuration.
const REQUESTS_PER_CONFIG: usize = 500;
/// A request waits at most this long on purpose,
const MAX_WAIT: Duration = Duration::from_secs(5);
/// and has ended after this, whatever was lost.
const DEADLINE_US: u64 = 30_000_000;
const NODES: u64 = 3;
const NODE_INSTANCES: u64 = 12;
const INSTANCE_BYTES: u64 = 64 << 20;
const INVENTORY_US: u64 = 1_000_000;

impl Chaos {
    /// Runs it.
    pub fn run(&self) -> LiveCounts {
        let mut random = Random::new(self.seed);
        let each = self.events.div_ceil(SERVICES * EVENTS_PER_REQUEST);
        let services: Vec<_> = (0..SERVICES)
            .map(|name| service(name, each, &mut random))
            .collect();
        let trace = Trace {
            name: "chaos".to_string(),
            services,
        };
        let world = LiveConfig {
            cold_start_us: 20_000,
            cold_start_spread: 0.9,
            park_us: 3_000,
            faults: Faults::all(self.faults),
            inventory_us: INVENTORY_US,
            deadline_us: DEADLINE_US,
            check_every: 1,
            seed: self.seed,
            script: changes(&trace, &mut random),
            nodes: NODES,
            settings: Settings {
                limits: LimitsConfig {
                    starts: Some(RateLimit::new(400, 40)),
                    node: NodeConfig::with_memory(NODE_INSTANCES * INSTANCE_BYTES),
                    ..LimitsConfig::default()
                },
                ..Settings::default()
            },
            ..LiveConfig::default()
        };
        let first = |_: &_| config(&mut Random::new(self.seed));
        run_live(&trace, &world, LearnedSki::default(), first, &mut |_, _, _| {}).1
    }
}

fn service(name: u64, requests: u64, random: &mut Random) -> ServiceTrace {
    let apart_us = 2_000.0 * 2_f64.powi(i32::try_from(random.below(8)).unwrap_or(0));
    let runs_us = apart_us * random.unit();
    let mut at = 0.0;
    let mut draw = |_| {
        at += random.exponential(apart_us);
        TracedRequest {
            at_us: micros(at),
            runs_us: micros(random.exponential(runs_us)).max(1),
        }
    };
    ServiceTrace {
        name: name.to_string(),
        memory_mb: 1.0,
        requests: (0..requests).map(&mut draw).collect(),
    }
}

fn changes(trace: &Trace, random: &mut Random) -> Vec<(u64, Event)> {
    let mut changes = Vec::new();
    for (id, service) in (0..).zip(&trace.services) {
        for request in service.requests.iter().step_by(REQUESTS_PER_CONFIG) {
            let (service, config) = (ServiceId(id), config(random));
            changes.push((request.at_us, Event::ServiceConfigured { service, config }));
        }
    }
    changes
}

fn config(random: &mut Random) -> ValidConfig {
    let mut small = |most: u64| u32::try_from(random.below(most)).unwrap_or(0);
    let max_instances = 1 + small(6);
    let mut config = ServiceConfig {
        max_instances,
        min_instances: small(3).min(max_instances),
        concurrency: 1 + small(4),
        resources: ResourceConfig {
            memory_bytes: INSTANCE_BYTES,
            ..ResourceConfig::default()
        },
        cooldown: (small(2) == 0).then(|| Duration::from_millis(30 + u64::from(small(200)))),
        park_level: ParkLevel::Ram,
        ladder: LadderConfig {
            dial: Dial::Beta(1 + small(300)),
            disk: (small(2) == 0).then_some(RungCost::DISK),
            stop: (small(4) == 0).then_some(RungCost::STOP),
            ..LadderConfig::default()
        },
        start_from: match small(3) {
            0 => StartSource::Image,
            1 => StartSource::Snapshot,
            _ => StartSource::Instance,
        },
        ..ServiceConfig::default()
    };
    config.queue.max_waiting = 1 + small(100);
    config.queue.max_wait = MAX_WAIT;
    config.validate().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_services_in_a_world_of_faults_break_no_rule_and_lose_no_request() {
        let chaos = Chaos {
            events: 20_000,
            faults: 0.01,
            seed: 3,
        };
        let counts = chaos.run();
        assert!(counts.is_sound() && counts.events >= chaos.events, "{counts}");
    }

    #[test]
    fn every_random_configuration_is_valid() {
        let mut random = Random::new(5);
        let given = (0..200).filter(|_| config(&mut random).queue.max_wait == MAX_WAIT);
        assert_eq!(given.count(), 200);
    }
}
