use core::fmt;
use std::format;
use std::string::String;
use std::vec::Vec;

use super::live::LiveCounts;
use super::study::{Contender, Row};

/// The lowest J that a study before this simulator found for any published policy without knowledge of the future on the
/// traces that come with this crate, at starts of 5, 50 and 500 ms and β of 20 and 200. It drew other arrivals, so that
/// the same policies differ by a few percent here. One configuration of ours, given only these two numbers, is to reach each.
const LOWEST_KNOWN: [(&str, [f64; 6]); 4] = [
    ("azure2019_8h clump", [1.220, 1.344, 1.300, 1.436, 1.379, 1.194]),
    ("azure2019_8h uniform", [1.303, 1.515, 1.448, 1.328, 1.262, 1.057]),
    ("azure2019_8h equi", [1.217, 1.389, 1.198, 1.142, 1.052, 1.157]),
    ("azure_llm2023_code", [1.328, 1.512, 1.399, 1.336, 1.181, 1.113]),
];
const CELLS: [(u64, u32); 6] = [
    (5_000, 20),
    (5_000, 200),
    (50_000, 20),
    (50_000, 200),
    (500_000, 20),
    (500_000, 200),
];

/// How far above the bar counts as missed; below it the difference is that of the draw of arrivals.
const TOLERANCE: f64 = 1.01;
/// The share of delayed requests, as the mean over services, and the idle memory at which it is to be reached.
const SERVICE_MEAN: (f64, f64) = (0.746, 0.0029);

/// What may be remembered of one of many services on average, in bytes: with what a parked service takes, a kibibyte.
const LEARNED_BYTES: f64 = 464.0;

/// One promise about our policy, and what it did.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What is promised, where.
    pub cell: String,
    /// What came out.
    pub value: f64,
    /// The most it may be.
    pub bar: f64,
}

impl Verdict {
    /// Whether the bar is met exactly.
    pub fn is_met(&self) -> bool {
        self.value <= self.bar
    }

    /// Whether it is missed by more than a hundredth.
    pub fn is_missed(&self) -> bool {
        self.value.is_nan() || self.value > self.bar * TOLERANCE
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match () {
            () if self.is_met() => "met",
            () if self.is_missed() => "MISSED",
            () => "within 1 %",
        };
        let Self { cell, value, bar } = self;
        match *bar > 0.0 {
            true => write!(f, "{cell}: {value:.4}, at most {bar:.4}: {verdict}"),
            false => write!(f, "{cell}: {value}, must be 0: {verdict}"),
        }
    }
}

/// What rows say about each promise that they are about: those of our policy at its own β what it costs and delays; those
/// of real schedulers, in worlds of which no cost is promised, that every request ended in time and every rule was kept.
pub fn check(rows: &[Row]) -> Vec<Verdict> {
    rows.iter().flat_map(verdicts).collect()
}

fn verdicts(row: &Row) -> Vec<Verdict> {
    match (row.live, row.own_beta) {
        (Some(counts), _) => Vec::from([soundness(row, &counts)]),
        (None, Some(beta)) if row.contender == Contender::Learned => promises(row, beta),
        _ => Vec::new(),
    }
}

fn soundness(row: &Row, counts: &LiveCounts) -> Verdict {
    let wrongs = counts.late + counts.unended + counts.over_budget + u64::from(counts.violation.is_some());
    let start_ms = row.cold_start_us as f64 / 1_000.0;
    Verdict {
        cell: format!(
            "{}, start {start_ms} ms, {}: requests late or never ended, starts over budget, rules broken",
            row.trace, row.policy
        ),
        value: wrongs as f64,
        bar: 0.0,
    }
}

fn promises(row: &Row, beta: u32) -> Vec<Verdict> {
    let start_us = row.cold_start_us;
    let place = format!("{}, start {} ms, β {beta}", row.trace, start_us as f64 / 1_000.0);
    let cost = row.relative_cost_at(beta).unwrap_or(f64::NAN);
    let p999 = row.outcome.waits.quantile(999_000) as f64;
    let verdict = |what: &str, value: f64, bar: f64| Verdict {
        cell: format!("{place}: {what}"),
        value,
        bar,
    };
    let mut verdicts = Vec::from([
        verdict("J, twice the clairvoyant", cost, 2.0),
        verdict("p99.9 of the added delay, starts", p999 / start_us as f64, 1.0),
    ]);
    if let Some(bar) = lowest_known(&row.trace, start_us, beta) {
        verdicts.push(verdict("J, lowest known", cost, bar));
    }
    if row.outcome.services() > 1 {
        let bytes = row.outcome.mean_learned_bytes();
        verdicts.push(verdict("bytes learned, mean over services", bytes, LEARNED_BYTES));
    }
    if (row.trace.as_str(), start_us, beta) == ("azure2019_8h clump", 5_000, 20) {
        let (delayed, waste) = SERVICE_MEAN;
        let value = row.outcome.service_mean_delayed();
        verdicts.push(verdict("service-mean delayed share", value, delayed));
        verdicts.push(verdict("idle memory, 10 min = 1", row.waste, waste));
    }
    verdicts
}

/// The bar of a cell, if it is one of the traces that come with this crate.
pub fn lowest_known(trace: &str, cold_start_us: u64, beta: u32) -> Option<f64> {
    let (_, bars) = LOWEST_KNOWN.iter().find(|(name, _)| *name == trace)?;
    let cell = CELLS.iter().position(|cell| *cell == (cold_start_us, beta))?;
    bars.get(cell).copied()
}
