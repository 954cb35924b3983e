use core::fmt;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use crate::sim::bar::lowest_known;
use crate::sim::study::{Contender, Row};

/// J of our policy at its own β, cell by cell, against the lowest of the others in the same rows and the lowest known,
/// as a Markdown table. Nothing if our policy or all others are missing.
#[derive(Debug)]
pub struct Cells<'a>(pub &'a [Row]);

impl fmt::Display for Cells<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ours = |row: &&Row| row.contender == Contender::Learned;
        let Some(first) = self.0.iter().find(ours) else {
            return Ok(());
        };
        let mut cells: Vec<(u64, u32)> = Vec::new();
        for row in self.0.iter().filter(|row| row.trace == first.trace).filter(ours) {
            cells.extend(row.own_beta.map(|beta| (row.cold_start_us, beta)));
        }
        cells.sort_unstable();
        write!(f, "| J: ours; best other; lowest known |")?;
        for (start_us, beta) in &cells {
            write!(f, " c = {} ms, β = {beta} |", *start_us as f64 / 1_000.0)?;
        }
        writeln!(f, "\n|---|{}", "---|".repeat(cells.len()))?;
        for rows in self.0.chunk_by(|a, b| a.trace == b.trace) {
            let Some(first) = rows.first() else { continue };
            write!(f, "| {} |", first.trace)?;
            for (start_us, beta) in &cells {
                write!(f, " {} |", cell(rows, *start_us, *beta))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn cell(rows: &[Row], start_us: u64, beta: u32) -> String {
    let here = || rows.iter().filter(|row| row.cold_start_us == start_us);
    let cost = |row: &Row| row.relative_cost_at(beta).unwrap_or(f64::NAN);
    let ours = here().find(|row| row.contender == Contender::Learned && row.own_beta == Some(beta));
    let other = |row: &&Row| row.contender != Contender::Learned && !row.contender.is_clairvoyant();
    let best = here().filter(other).min_by(|a, b| cost(a).total_cmp(&cost(b)));
    let parts = [
        ours.map(|row| format!("**{:.3}**", cost(row))),
        best.map(|row| format!("{:.3} {}", cost(row), row.policy)),
        lowest_known(rows.first().map_or("", |row| &row.trace), start_us, beta)
            .map(|bar| format!("{bar:.3}")),
    ];
    let told: Vec<_> = parts
        .into_iter()
        .map(|part| part.unwrap_or("–".to_string()))
        .collect();
    told.join("; ")
}
