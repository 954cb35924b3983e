use std::borrow::ToOwned;
use std::collections::BTreeMap;
use std::format;
use std::path::{Path, PathBuf};
use std::string::{String, ToString};
use std::vec::Vec;

use super::csv::Csv;
use super::error::TraceError;

/// One function of a trace that counts invocations per minute.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) trigger: Trigger,
    pub(crate) memory_mb: f64,
    /// Milliseconds at the quantiles [`QUANTILES`].
    pub(crate) durations_ms: [f64; 7],
    /// Minute and count, in the order of time.
    pub(crate) counts: Vec<(u64, u64)>,
}

/// Where the percentiles of durations stand.
pub(crate) const QUANTILES: [f64; 7] = [0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0];

const DURATIONS: [&str; 7] = [
    "dur_p0_ms",
    "dur_p1_ms",
    "dur_p25_ms",
    "dur_p50_ms",
    "dur_p75_ms",
    "dur_p99_ms",
    "dur_p100_ms",
];

/// What calls a function, as far as it says how calls cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    Timer,
    Http,
    Other,
}

/// Reads a pair of files: `fn,trigger,mem_mb,dur_p…_ms` and `fn,minute,count`.
pub(super) fn read(functions: &Path, invocations: &Path) -> Result<Vec<Function>, TraceError> {
    let csv = Csv::read(functions)?;
    let (id, trigger) = (csv.column("fn")?, csv.column("trigger")?);
    let memory = csv.column("mem_mb")?;
    let mut durations = Vec::new();
    for name in DURATIONS {
        durations.push(csv.column(name)?);
    }
    let mut known = Vec::new();
    let mut places = BTreeMap::new();
    for record in csv.records() {
        let record = record?;
        let mut durations_ms = [0.0; 7];
        let mut before = 0.0;
        for (value, column) in durations_ms.iter_mut().zip(&durations) {
            *value = record.number(*column)?;
            if *value < before {
                return Err(record.wrong(*column, "at least the percentile before it"));
            }
            if *value > LONGEST_MS {
                return Err(record.wrong(*column, "at most ten years"));
            }
            before = *value;
        }
        let name = record.text(id).to_owned();
        if places.insert(name.clone(), known.len()).is_some() {
            return Err(record.wrong(id, "a function not named before"));
        }
        known.push(Function {
            name,
            trigger: match record.text(trigger) {
                name if name.eq_ignore_ascii_case("timer") => Trigger::Timer,
                name if name.eq_ignore_ascii_case("http") => Trigger::Http,
                _ => Trigger::Other,
            },
            memory_mb: record.positive(memory)?,
            durations_ms,
            counts: Vec::new(),
        });
    }
    let csv = Csv::read(invocations)?;
    let (id, minute, count) = (csv.column("fn")?, csv.column("minute")?, csv.column("count")?);
    for record in csv.records() {
        let record = record?;
        let place = places
            .get(record.text(id))
            .and_then(|place| known.get_mut(*place));
        let Some(function) = place else {
            return Err(record.wrong(id, "a function of the other file"));
        };
        let at = record.whole(minute)?;
        if at > MOST_MINUTES {
            return Err(record.wrong(minute, "a minute of at most ten years"));
        }
        let invocations = record.whole(count)?;
        if invocations > MOST_INVOCATIONS {
            return Err(record.wrong(count, "at most 10,000,000 in a minute"));
        }
        function.counts.push((at, invocations));
    }
    for function in &mut known {
        function.counts.sort_unstable();
    }
    Ok(known)
}

const MOST_MINUTES: u64 = 10 * 366 * 24 * 60;
const LONGEST_MS: f64 = MOST_MINUTES as f64 * 60_000.0;
/// Each becomes a request of 16 bytes: a slip of the pen is not to fill the memory.
const MOST_INVOCATIONS: u64 = 10_000_000;

/// The name and the files of a pair, if this is one of them.
pub(super) fn pair(path: &Path) -> Option<(String, [PathBuf; 2])> {
    let file = path.file_name()?.to_str()?;
    let name = file
        .strip_suffix("_functions.csv")
        .or_else(|| file.strip_suffix("_invocations.csv"))?;
    let files = ["functions", "invocations"];
    let files = files.map(|what| path.with_file_name(format!("{name}_{what}.csv")));
    Some((name.to_string(), files))
}
