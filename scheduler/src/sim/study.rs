//! Many policies on many traces, in the units in which they can be compared.

mod contender;
mod ours;
mod row;

pub use contender::{Contender, UnknownContender};
pub use row::Row;

use std::format;
use std::string::ToString;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::vec::Vec;

use self::contender::{Course, TEN_MINUTES, run_fixed};
use super::live::{LiveConfig, LiveCounts};
use super::outcome::Outcome;
use super::pool::clairvoyant_keep;
use super::trace::Trace;
use crate::ladder::{Dial, RungCost};
use crate::problem::{Problem, Problems};
use crate::time::micros;

/// What is compared with what.
#[derive(Clone, Debug)]
pub struct Study {
    /// The policies. Default: all.
    pub contenders: Vec<Contender>,
    /// How long a start takes, in microseconds: from 1 to [`RungCost::MAX_WAKE`]. Default: 5, 50 and 500 ms.
    pub cold_starts_us: Vec<u64>,
    /// How many seconds of idle memory one second of waiting is worth: from 1 to [`Dial::MAX_BETA`]. Default: 20 and 200.
    pub betas: Vec<u32>,
    /// The world in which real schedulers run the policies of this crate, the others being left out; `None`: the pool
    /// model runs all. Default `None`.
    pub live: Option<LiveConfig>,
    /// Threads that work on it; the result does not depend on them. Default 1.
    pub jobs: usize,
}

impl Default for Study {
    fn default() -> Self {
        Self {
            contenders: Contender::ALL.to_vec(),
            cold_starts_us: Vec::from([5_000, 50_000, 500_000]),
            betas: Vec::from([20, 200]),
            live: None,
            jobs: 1,
        }
    }
}

/// What rows at one start time are measured by.
struct Measure {
    cold_start_us: u64,
    ten_minutes: Outcome,
    /// β and the cost of the clairvoyant.
    least: Vec<(u32, f64)>,
}

impl Study {
    /// Runs every policy on one trace: by policy, then by start time. `progress` is told, now and then and from
    /// several threads, how many of how many runs are done.
    ///
    /// # Errors
    /// Every start time and β that no service may have, before anything runs.
    pub fn run(
        &self,
        trace: &Trace,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Vec<Row>, Vec<Problem>> {
        self.check()?;
        let runs: Vec<_> = self.runs().collect();
        let total = self.cold_starts_us.len() + runs.len();
        let done = AtomicUsize::new(0);
        let tick = || progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
        let measures = in_parallel(self.jobs, &self.cold_starts_us, |cold_start_us| {
            let least = |beta: &u32| (*beta, clairvoyant_keep(trace, *cold_start_us, *beta).cost(*beta));
            let measure = Measure {
                cold_start_us: *cold_start_us,
                ten_minutes: run_fixed(trace, *cold_start_us, TEN_MINUTES),
                least: self.betas.iter().map(least).collect(),
            };
            tick();
            measure
        });
        let rows = in_parallel(self.jobs, &runs, |&(contender, own_beta, start)| {
            let measure = &measures[start];
            let course = Course {
                trace,
                cold_start_us: measure.cold_start_us,
                ten_minutes: &measure.ten_minutes,
            };
            let beta = own_beta.unwrap_or_default();
            let (outcome, live) = match &self.live {
                None => (contender.run(&course, beta), None),
                Some(world) => {
                    let (outcome, counts) = ours::run_live(contender, &course, beta, world);
                    (outcome, Some(counts))
                }
            };
            tick();
            row(trace, measure, contender, own_beta, (outcome, live))
        });
        Ok(rows)
    }

    fn check(&self) -> Result<(), Vec<Problem>> {
        let mut problems = Problems::default();
        let longest = micros(RungCost::MAX_WAKE);
        for (place, start) in self.cold_starts_us.iter().enumerate() {
            if !(1..=longest).contains(start) {
                let path = format!("cold_starts_us[{place}]");
                problems.push(path, format!("is {start}, must be 1 to {longest}"));
            }
        }
        for (place, beta) in self.betas.iter().enumerate() {
            if !(1..=Dial::MAX_BETA).contains(beta) {
                let path = format!("betas[{place}]");
                problems.push(path, format!("is {beta}, must be 1 to {}", Dial::MAX_BETA));
            }
        }
        problems.or(())
    }

    /// Policy, its β if it heeds it, and place of the start time.
    fn runs(&self) -> impl Iterator<Item = (Contender, Option<u32>, usize)> {
        let contenders = self.contenders.iter();
        let contenders = contenders.filter(|contender| self.live.is_none() || contender.is_policy());
        contenders.flat_map(move |contender| {
            let betas: Vec<_> = match contender.heeds_beta() {
                true => self.betas.iter().copied().map(Some).collect(),
                false => Vec::from([None]),
            };
            let starts = 0..self.cold_starts_us.len();
            betas
                .into_iter()
                .flat_map(move |beta| starts.clone().map(move |start| (*contender, beta, start)))
        })
    }
}

fn row(
    trace: &Trace,
    by: &Measure,
    contender: Contender,
    own_beta: Option<u32>,
    ran: (Outcome, Option<LiveCounts>),
) -> Row {
    let (outcome, live) = ran;
    let relative = |(beta, least): &(u32, f64)| (*beta, outcome.cost(*beta) / least);
    Row {
        trace: trace.name.clone(),
        policy: match own_beta {
            Some(beta) => std::format!("{contender}-b{beta}"),
            None => contender.to_string(),
        },
        contender,
        own_beta,
        cold_start_us: by.cold_start_us,
        waste: outcome.idle_cost / by.ten_minutes.idle_cost,
        relative_cost: by.least.iter().map(relative).collect(),
        live,
        outcome,
    }
}

/// Does `work` on each item; the results are in the order of the items.
fn in_parallel<T: Sync, R: Send>(jobs: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let worker = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { break };
            let result = work(item);
            if let Ok(mut results) = results.lock() {
                results.push((at, result));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..jobs.clamp(1, items.len().max(1)) {
            scope.spawn(worker);
        }
        worker();
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_time_and_a_beta_that_no_service_may_have_are_refused() {
        let study = Study {
            cold_starts_us: Vec::from([0, 5_000, 600_000_001]),
            betas: Vec::from([0, 1_000_000, 1_000_001]),
            ..Study::default()
        };
        let trace = Trace {
            name: "none".to_string(),
            services: Vec::new(),
        };
        let refused = study.run(&trace, &|_, _| {}).unwrap_err();
        let told: Vec<_> = refused.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "cold_starts_us[0] is 0, must be 1 to 600000000",
                "cold_starts_us[2] is 600000001, must be 1 to 600000000",
                "betas[0] is 0, must be 1 to 1000000",
                "betas[2] is 1000001, must be 1 to 1000000",
            ]
        );
    }
}
