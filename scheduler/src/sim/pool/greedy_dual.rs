use core::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::vec::Vec;

use crate::sim::outcome::{Outcome, ServiceOutcome};
use crate::sim::trace::Trace;

/// Greedy-dual caching with a capacity, as FaasCache (Fuerst and Sharma, ASPLOS 2021) publishes it: idle instances
/// stay until their memory is wanted; then the one with the least clock + uses × start time / memory goes, and the
/// clock moves to that. Uses are forgotten with the last instance of a service.
///
/// `capacity_mb` bounds all that is awake; busy instances may exceed it.
pub fn greedy_dual(trace: &Trace, cold_start_us: u64, capacity_mb: f64) -> Outcome {
    let mut cache = Cache {
        cold_start_us,
        capacity_mb,
        used_mb: 0.0,
        clock: 0.0,
        services: trace
            .services
            .iter()
            .map(|service| Pool::new(service.memory_mb))
            .collect(),
        ends: BinaryHeap::new(),
        idle: BTreeMap::new(),
        fell_idle: 0,
        outcome: Outcome::default(),
    };
    let mut arrivals: Vec<_> = (0..)
        .zip(&trace.services)
        .flat_map(|(at, service)| {
            service
                .requests
                .iter()
                .map(move |request| (request.at_us, at, request.runs_us))
        })
        .collect();
    arrivals.sort_by_key(|(at_us, ..)| *at_us);
    for (at_us, service, runs_us) in arrivals {
        cache.advance(at_us);
        cache.arrived(at_us, service, runs_us);
    }
    cache.finish(trace.end_us())
}

struct Cache {
    cold_start_us: u64,
    capacity_mb: f64,
    used_mb: f64,
    clock: f64,
    services: Vec<Pool>,
    /// When an instance is done or started, of which service.
    ends: BinaryHeap<Reverse<(u64, usize, End)>>,
    /// Idle instances by priority, as ordered bits, and when they fell idle.
    idle: BTreeMap<(u64, u64), (usize, u64)>,
    fell_idle: u64,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Request,
    Start,
}

struct Pool {
    memory_mb: f64,
    awake: u64,
    uses: f64,
    starting: usize,
    queue: VecDeque<(u64, u64)>,
    /// Keys of its idle instances, the last to fall idle at the end; evicted ones linger.
    idle: Vec<(u64, u64)>,
    sum: ServiceOutcome,
}

impl Pool {
    fn new(memory_mb: f64) -> Self {
        Self {
            memory_mb,
            awake: 0,
            uses: 0.0,
            starting: 0,
            queue: VecDeque::new(),
            idle: Vec::new(),
            sum: ServiceOutcome::default(),
        }
    }
}

impl Cache {
    fn advance(&mut self, now: u64) {
        while let Some(&Reverse((at, service, end))) = self.ends.peek() {
            if at > now {
                break;
            }
            self.ends.pop();
            let pool = &mut self.services[service];
            if end == End::Start {
                pool.starting -= 1;
                pool.sum.idle_us += self.cold_start_us;
            }
            match pool.queue.pop_front() {
                Some((since, runs_us)) => {
                    pool.sum.wait_us += at - since;
                    self.outcome.waits.add(at - since);
                    self.serve(at, service, runs_us);
                }
                None => self.fall_idle(at, service),
            }
        }
    }

    fn arrived(&mut self, now: u64, service: usize, runs_us: u64) {
        let pool = &mut self.services[service];
        pool.sum.requests += 1;
        while let Some(key) = pool.idle.pop() {
            if let Some((_, since)) = self.idle.remove(&key) {
                pool.sum.idle_us += now - since;
                self.outcome.waits.add(0);
                return self.serve(now, service, runs_us);
            }
        }
        pool.sum.delayed += 1;
        pool.queue.push_back((now, runs_us));
        if pool.queue.len() > pool.starting {
            pool.starting += 1;
            pool.awake += 1;
            pool.sum.starts += 1;
            self.used_mb += pool.memory_mb;
            self.outcome.add_start(now);
            self.ends
                .push(Reverse((now + self.cold_start_us, service, End::Start)));
            self.make_room(now);
        }
    }

    fn serve(&mut self, now: u64, service: usize, runs_us: u64) {
        self.services[service].uses += 1.0;
        self.ends.push(Reverse((now + runs_us, service, End::Request)));
    }

    fn fall_idle(&mut self, now: u64, service: usize) {
        let pool = &mut self.services[service];
        let priority = self.clock + pool.uses * self.cold_start_us as f64 / pool.memory_mb.max(1e-3);
        self.fell_idle += 1;
        // The bits of numbers from 0 are in the order of the numbers.
        let key = (priority.to_bits(), self.fell_idle);
        pool.idle.push(key);
        self.idle.insert(key, (service, now));
        self.make_room(now);
    }

    fn make_room(&mut self, now: u64) {
        while self.used_mb > self.capacity_mb {
            let Some(((priority, _), (service, since))) = self.idle.pop_first() else {
                return;
            };
            self.clock = f64::from_bits(priority);
            let pool = &mut self.services[service];
            pool.sum.idle_us += now - since;
            pool.awake -= 1;
            if pool.awake == 0 {
                pool.uses = 0.0;
                pool.idle.clear();
            }
            self.used_mb -= pool.memory_mb;
        }
    }

    fn finish(mut self, end_us: u64) -> Outcome {
        self.advance(u64::MAX);
        for (service, since) in self.idle.values() {
            self.services[*service].sum.idle_us += end_us.saturating_sub(*since);
        }
        for pool in &self.services {
            self.outcome.add_service(pool.memory_mb, &pool.sum);
        }
        self.outcome.settle()
    }
}

/// The mean memory awake over a trace, in MB, under an outcome: busy and idle.
pub(crate) fn mean_footprint_mb(trace: &Trace, outcome: &Outcome) -> f64 {
    let busy = trace.services.iter().map(|service| {
        let runs = service
            .requests
            .iter()
            .map(|request| request.runs_us)
            .sum::<u64>();
        service.memory_mb * runs as f64
    });
    (busy.sum::<f64>() + outcome.idle_cost) / trace.end_us().max(1) as f64
}
