use core::fmt;
use std::format;
use std::string::String;
use std::vec::Vec;

use super::study::{Contender, Row};

/// The lowest J that a published or known policy without knowledge of the future reaches on the traces that come with
/// this crate, at starts of 5, 50 and 500 ms and β of 20 and 200. One configuration of ours, given only these two
/// numbers, is to reach each.
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
        write!(
            f,
            "{}: {:.4}, at most {:.4}: {verdict}",
            self.cell, self.value, self.bar
        )
    }
}

/// What the rows of our policy at its own β say about each promise that they are about.
pub fn check(rows: &[Row]) -> Vec<Verdict> {
    let ours = rows.iter().filter(|row| row.contender == Contender::Learned);
    ours.filter_map(|row| Some((row, row.own_beta?)))
        .flat_map(|(row, beta)| promises(row, beta))
        .collect()
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
