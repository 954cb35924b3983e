//! `demo`, as programs read it.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::Test;
use crate::process::run;

pub(crate) const TESTS: &[Test] = &[(
    "demo::prints_one_json_object_and_loses_nothing",
    prints_one_json_object_and_loses_nothing,
)];

fn prints_one_json_object_and_loses_nothing() -> Result<()> {
    let ended = run(&["demo", "--json", "--wakes", "200"])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout).with_context(|| format!("{ended:?}"))?;
    ensure!(
        keys(&report)
            == [
                "asleep_bytes",
                "cold_boot_us",
                "count_ok",
                "first_byte_us",
                "lost",
                "phases_us",
                "wakes"
            ],
        "{report}"
    );
    ensure!(
        keys(&report["first_byte_us"]) == ["max", "p50", "p99"],
        "{report}"
    );
    ensure!(
        keys(&report["phases_us"]) == ["first_response", "load", "park", "place", "restore"],
        "{report}"
    );
    let phases = report["phases_us"].as_object().context("phases are an object")?;
    for (phase, quantiles) in phases {
        ensure!(keys(quantiles) == ["p50", "p99"], "{phase}: {quantiles}");
    }
    ensure!(
        report["wakes"] == 200 && report["lost"] == 0 && report["count_ok"] == true,
        "{report}"
    );
    let number = |value: &Value| value.as_f64().with_context(|| format!("{value} is no number"));
    let (p50, p99, max) = (
        &report["first_byte_us"]["p50"],
        &report["first_byte_us"]["p99"],
        &report["first_byte_us"]["max"],
    );
    let (p50, p99, max) = (number(p50)?, number(p99)?, number(max)?);
    ensure!(0.0 < p50 && p50 <= p99 && p99 <= max, "{report}");
    ensure!(
        number(&report["cold_boot_us"])? > p50 && number(&report["asleep_bytes"])? > 0.0,
        "{report}"
    );
    Ok(())
}

/// The names in an object, in alphabetical order.
fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .collect();
    keys.sort_unstable();
    keys
}
