use core::fmt;
use std::format;
use std::string::String;

use crate::sim::study::Row;

/// Rows as one JSON array, an object a line. Times in microseconds, shares from 0 to 1.
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
    add("cold_start_us", &row.cold_start_us);
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
    add("most_starts_in_100_ms", &in_100_ms);
    add("most_starts_in_1_s", &in_1_s);
    for (beta, cost) in &row.relative_cost {
        add(&format!("j{beta}"), &Number(*cost));
    }
    text.push('}');
    text
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
    use super::*;

    #[test]
    fn names_are_escaped_and_what_is_no_number_is_null() {
        assert_eq!(format!("{}", Quoted("a\"b\\\n")), "\"a\\\"b\\\\\\u000a\"");
        assert_eq!(format!("{} {}", Number(f64::NAN), Number(0.5)), "null 0.5");
    }
}
