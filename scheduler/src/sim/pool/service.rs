use core::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::vec::Vec;

use super::controller::{Controller, Load, OnDemand, Scale};
use crate::sim::outcome::{Outcome, ServiceOutcome};
use crate::sim::trace::{ServiceTrace, TracedRequest};

/// One service in the pool model: one request per instance, the last to fall idle is used first, a waiting request
/// takes whichever instance is free or started first, a start takes always the same time, and nothing else is scarce.
pub(super) struct Service<'a> {
    requests: &'a [TracedRequest],
    cold_start_us: u64,
    horizon_us: u64,
    sum: ServiceOutcome,
    outcome: &'a mut Outcome,
    /// Since when and until when, the last to fall idle at the end; those whose time is over linger.
    idle: Vec<(u64, u64)>,
    busy: BinaryHeap<Reverse<u64>>,
    /// When it serves, and until when it is kept if it was started ahead.
    starting: VecDeque<(u64, Option<u64>)>,
    queue: VecDeque<Waiter>,
}

struct Waiter {
    request: TracedRequest,
    /// Requests in the system when it came, itself included.
    level: u64,
}

/// Runs one service to its end and adds what came of it to `outcome`.
pub(super) fn run(
    service: &ServiceTrace,
    cold_start_us: u64,
    horizon_us: u64,
    controller: &mut dyn Controller,
    outcome: &mut Outcome,
) {
    let mut state = Service {
        requests: &service.requests,
        cold_start_us,
        horizon_us,
        sum: ServiceOutcome::default(),
        outcome,
        idle: Vec::new(),
        busy: BinaryHeap::new(),
        starting: VecDeque::new(),
        queue: VecDeque::new(),
    };
    while state.step(controller) {}
    let sum = state.end();
    outcome.add_service(service.memory_mb, &sum);
}

impl Service<'_> {
    /// Does what happens next; false if that is nothing.
    fn step(&mut self, controller: &mut dyn Controller) -> bool {
        let never = u64::MAX;
        let arrival = self.requests.first().map_or(never, |request| request.at_us);
        let done = self.busy.peek().map_or(never, |Reverse(at)| *at);
        let ready = self.starting.front().map_or(never, |(at, _)| *at);
        let asked = controller.next_us().unwrap_or(never);
        let now = arrival.min(done).min(ready).min(asked);
        if now == never || (self.is_over() && now == asked) {
            return false;
        }
        if now == done {
            self.busy.pop();
            controller.left(now, self.load());
            self.freed(controller, now, None);
        } else if now == ready {
            let kept_until = self.starting.pop_front().and_then(|(_, until)| until);
            self.sum.idle_us += self.cold_start_us;
            self.freed(controller, now, kept_until);
        } else if now == asked {
            self.scale(controller, now);
        } else if let Some((request, rest)) = self.requests.split_first() {
            self.requests = rest;
            self.arrived(controller, *request);
        }
        true
    }

    fn is_over(&self) -> bool {
        self.requests.is_empty() && self.queue.is_empty()
    }

    fn load(&self) -> Load {
        let (busy, starting) = (self.busy.len() as u64, self.starting.len() as u64);
        Load {
            in_system: busy + self.queue.len() as u64,
            awake: busy + starting + self.idle.len() as u64,
            starting,
        }
    }

    fn arrived(&mut self, controller: &mut dyn Controller, request: TracedRequest) {
        let (now, load) = (request.at_us, self.load());
        controller.arrived(now, load);
        self.sum.requests += 1;
        while let Some((since, until)) = self.idle.pop() {
            self.sum.idle_us += until.min(now) - since;
            if until > now {
                self.outcome.waits.add(0);
                return self.busy.push(Reverse(now + request.runs_us));
            }
        }
        self.sum.delayed += 1;
        let level = load.in_system + 1;
        self.queue.push_back(Waiter { request, level });
        match controller.on_demand() {
            OnDemand::Starts if self.queue.len() > self.starting.len() => self.start(now, None),
            OnDemand::Waits if self.load().awake == 0 => self.scale(controller, now),
            OnDemand::Starts | OnDemand::Waits => {}
        }
    }

    /// An instance has nothing to do: it takes the request that waits longest, or falls idle.
    fn freed(&mut self, controller: &mut dyn Controller, now: u64, kept_until: Option<u64>) {
        if let Some(Waiter { request, level }) = self.queue.pop_front() {
            let wait = now - request.at_us;
            self.sum.wait_us += wait;
            self.outcome.waits.add(wait);
            controller.waited(now, level, wait);
            self.busy.push(Reverse(now + request.runs_us));
            return;
        }
        let load = self.load();
        let load = Load {
            awake: load.awake + 1,
            ..load
        };
        let until = match kept_until {
            Some(until) => controller.started_ahead_us(now, load, until),
            None => now.saturating_add(controller.keep_us(now, load)),
        };
        if until > now {
            self.idle.push((now, until));
        }
    }

    fn scale(&mut self, controller: &mut dyn Controller, now: u64) {
        let mut ended = 0;
        self.idle.retain(|(since, until)| {
            let over = *until <= now;
            ended += if over { until - since } else { 0 };
            !over
        });
        self.sum.idle_us += ended;
        let load = self.load();
        match controller.scale(now, load) {
            Scale::Stay => {}
            Scale::Exactly(wanted) => {
                for _ in load.awake..wanted {
                    self.start(now, None);
                }
                let surplus = usize::try_from(load.awake.saturating_sub(wanted)).unwrap_or(usize::MAX);
                for (since, _) in self.idle.drain(..surplus.min(self.idle.len())) {
                    self.sum.idle_us += now - since;
                }
            }
            Scale::Ahead { instances, until_us } => {
                let wanted = usize::try_from(instances).unwrap_or(usize::MAX);
                for (_, until) in self.idle.iter_mut().rev().take(wanted) {
                    *until = (*until).max(until_us);
                }
                for _ in (self.idle.len() + self.starting.len()) as u64..instances {
                    self.start(now, Some(until_us));
                }
            }
        }
    }

    fn start(&mut self, now: u64, kept_until: Option<u64>) {
        self.sum.starts += 1;
        self.outcome.add_start(now);
        self.starting
            .push_back((now.saturating_add(self.cold_start_us), kept_until));
    }

    /// Pays for what is still idle, up to the horizon.
    fn end(self) -> ServiceOutcome {
        let mut sum = self.sum;
        for (since, until) in self.idle {
            sum.idle_us += until.min(self.horizon_us.max(since)) - since;
        }
        sum
    }
}
