use std::borrow::ToOwned;
use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

use super::csv::Csv;
use super::error::TraceError;
use super::{ServiceTrace, TracedRequest};
use crate::sim::random::micros;

/// How a duration is told, and how many microseconds one is.
const DURATIONS: [(&str, f64); 3] = [
    ("duration_us", 1.0),
    ("duration_ms", 1_000.0),
    ("duration_s", 1_000_000.0),
];

/// Whether the file has one request per line.
pub(super) fn is_one(csv: &Csv) -> bool {
    csv.find("t_us").is_some()
}

/// Reads requests, each with its time. Columns: `t_us`; one of `duration_us`, `duration_ms`, `duration_s`, or else
/// `generated_tokens`; if there are several services `service`; if they differ in size `mem_mb`, of which the first of a
/// service counts.
pub(super) fn read(csv: &Csv, token_us: u64) -> Result<Vec<ServiceTrace>, TraceError> {
    let at = csv.column("t_us")?;
    let told = DURATIONS
        .iter()
        .find_map(|(name, unit_us)| Some((csv.find(name)?, *unit_us)));
    let tokens = csv
        .find("generated_tokens")
        .map(|column| (column, token_us as f64));
    let Some((duration, unit_us)) = told.or(tokens) else {
        let what = "column duration_us, duration_ms, duration_s or generated_tokens";
        return Err(csv.without(what));
    };
    let (service, memory) = (csv.find("service"), csv.find("mem_mb"));
    let mut services: BTreeMap<String, ServiceTrace> = BTreeMap::new();
    for record in csv.records() {
        let record = record?;
        let name = service.map_or("", |column| record.text(column));
        let memory_mb = memory.map_or(Ok(1.0), |column| record.positive(column))?;
        let at_us = record.whole(at)?;
        if at_us > LATEST_US {
            return Err(record.wrong(at, "microseconds from the start of the trace, at most ten years"));
        }
        let runs_us = micros(record.number(duration)? * unit_us).max(1);
        if runs_us > LATEST_US {
            return Err(record.wrong(duration, "at most ten years"));
        }
        let request = TracedRequest { at_us, runs_us };
        match services.get_mut(name) {
            Some(known) => known.requests.push(request),
            None => {
                let named = ServiceTrace {
                    name: name.to_owned(),
                    memory_mb,
                    requests: Vec::from([request]),
                };
                services.insert(name.to_owned(), named);
            }
        }
    }
    let mut services: Vec<_> = services.into_values().collect();
    for service in &mut services {
        service.requests.sort_by_key(|request| request.at_us);
    }
    Ok(services)
}

const LATEST_US: u64 = 10 * 366 * 86_400 * 1_000_000;
