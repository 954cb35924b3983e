use core::fmt;
use std::boxed::Box;
use std::format;
use std::string::String;
use std::vec::Vec;

use crate::sim::study::Row;

/// Rows of one trace as a Markdown table: one line for each policy, its start times side by side.
#[derive(Debug)]
pub struct Table<'a>(pub &'a [Row]);

/// What a column is called, and what a row says in it.
type Column = (String, Box<dyn Fn(&Row) -> String>);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.0.first() else {
            return Ok(());
        };
        let lines: Vec<&[Row]> = self.0.chunk_by(|a, b| a.policy == b.policy).collect();
        let starts = join(lines.first().into_iter().copied().flatten(), |row| {
            millis(row.cold_start_us)
        });
        writeln!(f, "### {}, start {starts} ms\n", first.trace)?;
        let columns = columns(first);
        write!(f, "| policy |")?;
        for (name, _) in &columns {
            write!(f, " {name} |")?;
        }
        writeln!(f, "\n|---|{}", "---|".repeat(columns.len()))?;
        for line in lines {
            let Some(row) = line.first() else { continue };
            write!(f, "| {} |", row.policy)?;
            for (_, value) in &columns {
                write!(f, " {} |", join(line, value))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn columns(first: &Row) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    let mut add = |name: &str, value: fn(&Row) -> String| columns.push((name.into(), Box::new(value)));
    add("delayed %", |row| percent(row.outcome.delayed_share()));
    add("starts %", |row| percent(row.outcome.start_share()));
    add("service-mean delayed %", |row| {
        format!("{:.1}", 100.0 * row.outcome.service_mean_delayed())
    });
    add("waste (10 min = 1)", |row| format!("{:.4}", row.waste));
    add("p50 ms", |row| millis(row.outcome.waits.quantile(500_000)));
    add("p99 ms", |row| millis(row.outcome.waits.quantile(990_000)));
    add("p99.9 ms", |row| millis(row.outcome.waits.quantile(999_000)));
    add("most starts in 100 ms", |row| {
        format!("{}", row.outcome.start_peaks().0)
    });
    add("in 1 s", |row| format!("{}", row.outcome.start_peaks().1));
    add("learned bytes", |row| {
        format!("{:.0}", row.outcome.mean_learned_bytes())
    });
    for (beta, _) in first.relative_cost.iter().copied() {
        let cost = move |row: &Row| format!("{:.3}", row.relative_cost_at(beta).unwrap_or(f64::NAN));
        columns.push((format!("J{beta}"), Box::new(cost)));
    }
    columns
}

fn join<'a>(rows: impl IntoIterator<Item = &'a Row>, value: impl Fn(&Row) -> String) -> String {
    let values: Vec<_> = rows.into_iter().map(value).collect();
    values.join(" / ")
}

fn percent(share: f64) -> String {
    format!("{:.2}", 100.0 * share)
}

/// Milliseconds, with decimals only below ten, and more below a tenth.
fn millis(us: u64) -> String {
    let ms = us as f64 / 1_000.0;
    match us {
        1..100 => format!("{ms:.3}"),
        100..10_000 if !us.is_multiple_of(1_000) => format!("{ms:.1}"),
        _ => format!("{}", us.div_ceil(1_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_to_what_matters_of_them() {
        let told = [0, 1, 99, 100, 999, 1_000, 5_023, 9_999, 10_001, 600_000_000].map(millis);
        let expected = [
            "0", "0.001", "0.099", "0.1", "1.0", "1", "5.0", "10.0", "11", "600000",
        ];
        assert_eq!(told, expected);
    }
}
