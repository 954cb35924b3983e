use std::collections::VecDeque;

use super::controller::{Controller, Load, OnDemand, Scale};

/// Knative's pod autoscaler with its default parameters and a hard limit of one request per instance.
///
/// Published in the documentation and the source of Knative Serving: every 2 s the mean concurrency of the last 60 s
/// is divided by the target, 70 %; if the mean of the last 6 s wants twice what is ready, it panics and for 60 s never
/// scales down; it scales up at most a thousandfold and down at most by half at a time, and to zero after 60 s without
/// requests. Left out: scrape delay and the 30 s grace.
#[derive(Debug, Default)]
pub struct Kpa {
    next_us: Option<u64>,
    changed_us: u64,
    in_system: u64,
    /// Request-microseconds since the last second began, and when that was.
    second: (u64, u64),
    /// The same of full seconds, youngest last.
    seconds: VecDeque<u64>,
    panic_since: Option<u64>,
    panic_most: u64,
}

const SECOND_US: u64 = 1_000_000;
const TICK_US: u64 = 2 * SECOND_US;
const STABLE_S: usize = 60;
const PANIC_S: usize = 6;
const TARGET: f64 = 0.7;
const PANIC_THRESHOLD: f64 = 2.0;
const MOST_UP: f64 = 1_000.0;
const MOST_DOWN: f64 = 2.0;

impl Kpa {
    /// Accounts for the time since the last change.
    fn advance(&mut self, now_us: u64) {
        while now_us - self.second.1 >= SECOND_US {
            let end = self.second.1 + SECOND_US;
            self.second.0 += (end - self.changed_us) * self.in_system;
            self.seconds.push_back(self.second.0);
            if self.seconds.len() > STABLE_S {
                self.seconds.pop_front();
            }
            self.second = (0, end);
            self.changed_us = end;
        }
        self.second.0 += (now_us - self.changed_us) * self.in_system;
        self.changed_us = now_us;
    }

    fn mean(&self, window: usize) -> f64 {
        let seconds = self.seconds.iter().rev().take(window);
        let (sum, count) = seconds.fold((0, 0_u32), |(sum, count), us| (sum + us, count + 1));
        if count == 0 {
            return self.in_system as f64;
        }
        sum as f64 / (f64::from(count) * SECOND_US as f64)
    }
}

/// Every autoscaler looks at the same moments.
fn next_tick(now_us: u64) -> u64 {
    (now_us / TICK_US + 1) * TICK_US
}

impl Controller for Kpa {
    fn on_demand(&self) -> OnDemand {
        OnDemand::Waits
    }

    fn arrived(&mut self, now_us: u64, load: Load) {
        if self.next_us.is_none() {
            self.next_us = Some(next_tick(now_us));
            self.second = (0, now_us - now_us % SECOND_US);
            self.changed_us = now_us;
        }
        self.advance(now_us);
        self.in_system = load.in_system + 1;
    }

    fn left(&mut self, now_us: u64, load: Load) {
        self.advance(now_us);
        self.in_system = load.in_system;
    }

    /// Scales down only by the clock.
    fn keep_us(&mut self, _: u64, _: Load) -> u64 {
        u64::MAX
    }

    fn next_us(&self) -> Option<u64> {
        self.next_us
    }

    fn scale(&mut self, now_us: u64, load: Load) -> Scale {
        self.advance(now_us);
        let poked = load.awake == 0 && self.next_us.is_some_and(|at| at > now_us);
        if !poked {
            self.next_us = Some(next_tick(now_us));
        }
        if poked {
            return Scale::Exactly(1);
        }
        let ready = (load.awake - load.starting).max(1) as f64;
        let (stable, panic) = (self.mean(STABLE_S), self.mean(PANIC_S));
        let (most, least) = ((ready * MOST_UP).ceil(), (ready / MOST_DOWN).floor());
        let limited = |mean: f64| (mean / TARGET).ceil().clamp(least, most);
        if panic / TARGET / ready >= PANIC_THRESHOLD {
            self.panic_since = Some(now_us);
        } else if self
            .panic_since
            .is_some_and(|since| now_us - since > 60 * SECOND_US)
        {
            self.panic_since = None;
            self.panic_most = 0;
        }
        let count = |mean| crate::sim::random::micros(limited(mean));
        let wanted = match self.panic_since {
            Some(_) => {
                self.panic_most = self
                    .panic_most
                    .max(count(panic))
                    .max(load.awake.min(self.panic_most));
                self.panic_most.max(count(stable))
            }
            None => count(stable),
        };
        let mut full = self.seconds.iter().rev().take(STABLE_S - 1);
        let quiet = full.len() == STABLE_S - 1 && full.all(|us| *us == 0) && self.second.0 == 0;
        if quiet && load.in_system == 0 {
            self.next_us = None;
            self.seconds.clear();
            self.panic_since = None;
            self.panic_most = 0;
            return Scale::Exactly(0);
        }
        Scale::Exactly(wanted.max(1))
    }
}
