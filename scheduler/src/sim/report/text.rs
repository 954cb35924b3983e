use core::fmt;
use std::format;
use std::string::String;
use std::vec::Vec;

use crate::sim::study::Row;

/// Rows of one trace as a Markdown table: one line for each policy, its start times side by side.
#[derive(Debug)]
pub struct Table<'a>(pub &'a [Row]);

type Column = (String, fn(&Row, u32) -> String, u32);

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
        let mut columns: Vec<Column> = Vec::from([
            (
                "delayed %".into(),
                (|row, _| percent(row.outcome.delayed_share())) as fn(&Row, u32) -> String,
                0,
            ),
            ("starts %".into(), |row, _| percent(row.outcome.start_share()), 0),
            (
                "service-mean delayed %".into(),
                |row, _| format!("{:.1}", 100.0 * row.outcome.service_mean_delayed()),
                0,
            ),
            (
                "waste (10 min = 1)".into(),
                |row, _| format!("{:.4}", row.waste),
                0,
            ),
            (
                "p50 ms".into(),
                |row, _| millis(row.outcome.waits.quantile(500_000)),
                0,
            ),
            (
                "p99 ms".into(),
                |row, _| millis(row.outcome.waits.quantile(990_000)),
                0,
            ),
            (
                "p99.9 ms".into(),
                |row, _| millis(row.outcome.waits.quantile(999_000)),
                0,
            ),
            (
                "most starts in 100 ms".into(),
                |row, _| format!("{}", row.outcome.start_peaks().0),
                0,
            ),
            (
                "in 1 s".into(),
                |row, _| format!("{}", row.outcome.start_peaks().1),
                0,
            ),
        ]);
        for (beta, _) in &first.relative_cost {
            let cost = |row: &Row, beta| format!("{:.3}", row.relative_cost_at(beta).unwrap_or(f64::NAN));
            columns.push((format!("J{beta}"), cost, *beta));
        }
        write!(f, "| policy |")?;
        for (name, ..) in &columns {
            write!(f, " {name} |")?;
        }
        write!(f, "\n|---|")?;
        for _ in &columns {
            write!(f, "---|")?;
        }
        writeln!(f)?;
        for line in lines {
            let Some(row) = line.first() else { continue };
            write!(f, "| {} |", row.policy)?;
            for (_, value, beta) in &columns {
                write!(f, " {} |", join(line, |row| value(row, *beta)))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
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
