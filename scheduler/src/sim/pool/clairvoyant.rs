use core::cmp::Reverse;
use std::collections::BinaryHeap;
use std::vec::Vec;

use crate::sim::outcome::{Outcome, ServiceOutcome};
use crate::sim::trace::{Trace, TracedRequest};

/// Knows when each idle instance is used next, and keeps it until then if that is cheaper than a start and its wait:
/// offline ski rental. Never starts ahead; each request that waits has a start of its own.
///
/// The cost of this, at the same β, is the measure of all others: their J is 1 if they do as well. A policy that
/// starts ahead, or lets a request take an instance that was started for another, can do better.
pub fn clairvoyant_keep(trace: &Trace, cold_start_us: u64, beta: u32) -> Outcome {
    let limit = cold_start_us.saturating_mul(1 + u64::from(beta));
    by_gap(trace, |gap| match gap <= limit {
        true => Paid {
            idle_us: gap,
            starts: 0,
            wait_us: 0,
        },
        false => Paid {
            idle_us: cold_start_us,
            starts: 1,
            wait_us: cold_start_us,
        },
    })
}

/// Knows the future, and starts each instance just in time: the least memory that lets no request wait.
pub fn clairvoyant_start(trace: &Trace, cold_start_us: u64) -> Outcome {
    by_gap(trace, |gap| Paid {
        idle_us: gap.min(cold_start_us),
        starts: u64::from(gap > cold_start_us),
        wait_us: 0,
    })
}

/// What one gap between two uses of an instance costs.
struct Paid {
    idle_us: u64,
    starts: u64,
    wait_us: u64,
}

/// The gap before the first use of an instance.
const NEVER: u64 = u64::MAX;

fn by_gap(trace: &Trace, price: impl Fn(u64) -> Paid) -> Outcome {
    let mut outcome = Outcome::default();
    for service in &trace.services {
        let mut stack = Stack::default();
        let mut sum = ServiceOutcome::default();
        for request in &service.requests {
            let paid = price(stack.gap(request.at_us));
            stack.busy_until(request, paid.wait_us);
            sum.requests += 1;
            sum.idle_us += paid.idle_us;
            sum.starts += paid.starts;
            sum.delayed += u64::from(paid.wait_us > 0);
            sum.wait_us += paid.wait_us;
            outcome.waits.add(paid.wait_us);
            if paid.starts > 0 {
                outcome.add_start(request.at_us);
            }
        }
        outcome.add_service(service.memory_mb, &sum);
    }
    outcome.settle()
}

/// Instances of which none is ever parked; the last to fall idle is used first.
#[derive(Default)]
struct Stack {
    busy: BinaryHeap<Reverse<u64>>,
    idle_since: Vec<u64>,
}

impl Stack {
    /// How long the instance was idle that is used now.
    fn gap(&mut self, now: u64) -> u64 {
        while self.busy.peek().is_some_and(|Reverse(end)| *end <= now) {
            self.idle_since.extend(self.busy.pop().map(|Reverse(end)| end));
        }
        self.idle_since.pop().map_or(NEVER, |since| now - since)
    }

    fn busy_until(&mut self, request: &TracedRequest, wait_us: u64) {
        self.busy.push(Reverse(request.at_us + wait_us + request.runs_us));
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use crate::sim::trace::ServiceTrace;

    fn trace(requests: &[(u64, u64)]) -> Trace {
        let request = |&(at_us, runs_us): &(u64, u64)| TracedRequest { at_us, runs_us };
        let service = ServiceTrace {
            name: "s".to_string(),
            memory_mb: 2.0,
            requests: requests.iter().map(request).collect(),
        };
        Trace {
            name: "t".to_string(),
            services: Vec::from([service]),
        }
    }

    #[test]
    fn the_last_to_fall_idle_is_used_first() {
        let trace = trace(&[(0, 10), (5, 25), (40, 10), (41, 1), (100, 1)]);
        let mut stack = Stack::default();
        let mut gap = |request: &TracedRequest| {
            let gap = stack.gap(request.at_us);
            stack.busy_until(request, 0);
            gap
        };
        let gaps: Vec<_> = trace.services[0].requests.iter().map(&mut gap).collect();
        assert_eq!(gaps, [NEVER, NEVER, 10, 31, 50]);
    }

    #[test]
    fn of_each_gap_the_lesser_of_keeping_and_starting_again_is_paid() {
        let trace = trace(&[(0, 10), (30, 10), (1_000, 10)]);
        // Break-even at 5·(1+20) = 105: the gap of 15 is kept; the first start and the gap of 960 are paid.
        let outcome = clairvoyant_keep(&trace, 5, 20);
        assert!((outcome.cost(20) - 2.0 * (15.0 + 2.0 * 105.0)).abs() < 1e-9);
        assert_eq!((outcome.starts, outcome.delayed), (2, 2));
        let outcome = clairvoyant_start(&trace, 5);
        assert!((outcome.idle_cost - 2.0 * 15.0).abs() < 1e-9);
        assert_eq!((outcome.starts, outcome.waits.max()), (3, 0));
    }
}
