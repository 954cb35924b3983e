use core::fmt;
use std::format;
use std::string::String;

use crate::sim::bar::lowest_known;
use crate::sim::live::LiveCounts;
use crate::sim::study::Row;

/// Rows as one JSON array, an object a line: all that [`Table`](super::Table) and [`Cells`](super::Cells) tell, in full
/// precision. Times in microseconds, shares from 0 to 1; `jN` is J at β = N, `lowest_known_jN` what `Cells` compares it
/// with, on the traces that come with this crate. `live` is what else a real scheduler's run tells.
#[derive(Debug)]
pub struct Json<'a>(pub &'a [Row]);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (at, row) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}\n  {}", object(row))?;
        }
        f.write_str("\n]")
    }
}

fn object(row: &Row) -> String {
    let outcome = &row.outcome;
    let (in_100_ms, in_1_s) = outcome.start_peaks();
    let mut text = format!(
        "{{\"trace\": {}, \"policy\": {}",
        Quoted(&row.trace),
        Quoted(&row.policy)
    );
    let mut add = |name: &str, value: &dyn fmt::Display| text.push_str(&format!(", \"{name}\": {value}"));
    if let Some(beta) = row.own_beta {
        add("beta", &beta);
    }
    add("cold_start_us", &row.cold_start_us);
    add("services", &outcome.services());
    add("requests", &outcome.requests);
    add("delayed", &outcome.delayed);
    add("starts", &outcome.starts);
    add("shed", &outcome.shed);
    add("service_mean_delayed", &Number(outcome.service_mean_delayed()));
    add("waste", &Number(row.waste));
    for (name, ppm) in [
        ("wait_p50_us", 500_000),
        ("wait_p99_us", 990_000),
        ("wait_p999_us", 999_000),
    ] {
        add(name, &outcome.waits.quantile(ppm));
    }
    add("wait_max_us", &outcome.waits.max());
    add("wait_mean_by_memory_us", &Number(outcome.mean_wait_us()));
    add("most_starts_in_100_ms", &in_100_ms);
    add("most_starts_in_1_s", &in_1_s);
    add(
        "service_mean_learned_bytes",
        &Number(outcome.mean_learned_bytes()),
    );
    for (beta, cost) in &row.relative_cost {
        add(&format!("j{beta}"), &Number(*cost));
        if let Some(bar) = lowest_known(&row.trace, row.cold_start_us, *beta) {
            add(&format!("lowest_known_j{beta}"), &bar);
        }
    }
    if let Some(counts) = &row.live {
        add("live", &Live(counts));
    }
    text.push('}');
    text
}

struct Live<'a>(&'a LiveCounts);

impl fmt::Display for Live<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LiveCounts {
            events,
            actions,
            late,
            unended,
            lost_in_flight,
            busy_parks,
            over_budget,
            violation,
        } = self.0;
        write!(
            f,
            "{{\"events\": {events}, \"actions\": {actions}, \"late\": {late}, \"unended\": {unended}, \
             \"lost_in_flight\": {lost_in_flight}, \"busy_parks\": {busy_parks}, \"over_budget\": {over_budget}, \
             \"violation\": "
        )?;
        match violation {
            None => f.write_str("null}"),
            Some(violation) => write!(f, "{}}}", Quoted(&format!("{violation}"))),
        }
    }
}

/// A number as JSON has them: one that is none is null.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_finite() {
            write!(f, "{}", self.0)
        } else {
            f.write_str("null")
        }
    }
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;
    use crate::sim::live::LiveConfig;
    use crate::sim::study::{Contender, Study};
    use crate::sim::trace::{ServiceTrace, Trace, TracedRequest};

    #[test]
    fn a_row_tells_what_the_tables_tell() {
        let trace = Trace {
            name: "azure_llm2023_code".to_string(),
            services: Vec::from([ServiceTrace {
                name: "s".to_string(),
                memory_mb: 1.0,
                requests: Vec::from([TracedRequest { at_us: 0, runs_us: 5 }]),
            }]),
        };
        let study = Study {
            contenders: Vec::from([Contender::Learned]),
            cold_starts_us: Vec::from([5_000]),
            betas: Vec::from([20]),
            live: Some(LiveConfig::default()),
            ..Study::default()
        };
        let text = format!("{}", Json(&study.run(&trace, &|_, _| {}).unwrap()));
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        for told in [
            "\"policy\": \"learned-b20\", \"beta\": 20, \"cold_start_us\": 5000, \"services\": 1, \"requests\": 1",
            "\"wait_mean_by_memory_us\": 5000,",
            "\"lowest_known_j20\": 1.328, \"live\": {\"events\": ",
            "\"over_budget\": 0, \"violation\": null}}\n]",
        ] {
            assert!(text.contains(told), "{told} in {text}");
        }
    }

    #[test]
    fn names_are_escaped_and_what_is_no_number_is_null() {
        assert_eq!(format!("{}", Quoted("a\"b\\\n")), "\"a\\\"b\\\\\\u000a\"");
        assert_eq!(format!("{} {}", Number(f64::NAN), Number(0.5)), "null 0.5");
    }
}
