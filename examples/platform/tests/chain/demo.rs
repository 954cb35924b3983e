//! `demo`, as programs read it and as it ends.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::Test;
use crate::process::{PROGRAM, Process, lines, program, run, signal};

pub(crate) const TESTS: &[Test] = &[
    (
        "demo::prints_one_json_object_and_loses_nothing",
        prints_one_json_object_and_loses_nothing,
    ),
    (
        "demo::broken_off_by_a_signal_it_leaves_nothing",
        broken_off_by_a_signal_it_leaves_nothing,
    ),
    (
        "demo::what_a_killed_one_leaves_the_next_run_removes",
        what_a_killed_one_leaves_the_next_run_removes,
    ),
    (
        "demo::a_request_that_is_lost_is_told_with_its_cause",
        a_request_that_is_lost_is_told_with_its_cause,
    ),
];

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

/// A demonstration that goes on for long, with its temporary files in `dir`, once it has some.
fn long_demo(dir: &Path) -> Result<std::process::Child> {
    let mut command = program(&["demo", "--wakes", "1000000"]);
    let mut child = command
        .env("TMPDIR", dir)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    let stderr = child.stderr.take().context("its errors are piped")?;
    ensure!(
        lines(stderr).any(|line| line.contains("booted in")),
        "it does not boot"
    );
    ensure!(entries(dir)? == 1, "no temporary directory of its own");
    Ok(child)
}

fn entries(dir: &Path) -> Result<usize> {
    Ok(std::fs::read_dir(dir)?.count())
}

fn broken_off_by_a_signal_it_leaves_nothing() -> Result<()> {
    for (name, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let dir = tempfile::tempdir()?;
        let mut child = long_demo(dir.path())?;
        signal(child.id(), name)?;
        let status = child.wait()?;
        ensure!(status.code() == Some(code), "SIG{name}: {status}");
        ensure!(entries(dir.path())? == 0, "SIG{name} leaves something");
    }
    Ok(())
}

fn what_a_killed_one_leaves_the_next_run_removes() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut killed = long_demo(dir.path())?;
    killed.kill()?;
    killed.wait()?;
    ensure!(entries(dir.path())? == 1);
    let mut living = long_demo(dir.path())?;
    // Another kind of run, which must see which of the two has an owner.
    let mut command = program(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("TMPDIR", dir.path());
    let mut process = Process::spawn(command)?;
    process.line("serving on http://")?;
    ensure!(entries(dir.path())? == 2, "not those of the two that run");
    ensure!(process.terminate()?.code == Some(0));
    ensure!(entries(dir.path())? == 1);
    living.kill()?;
    living.wait()?;
    Ok(())
}

fn a_request_that_is_lost_is_told_with_its_cause() -> Result<()> {
    // Descriptors for a guest, but not for a hundred clients.
    let mut command = Command::new("sh");
    let script = "ulimit -n 100; exec \"$1\" demo --wakes 3";
    command.args(["-c", script, "sh", PROGRAM]);
    let ended = Process::spawn(command)?.end()?;
    ensure!(ended.code == Some(1), "{ended:?}");
    let (_, error) = ended.stderr.split_once("error: ").context("it names no error")?;
    for part in [
        "requests were lost, first: one of 100 that came at once: ",
        "open files",
    ] {
        ensure!(error.contains(part), "no {part:?} in {error:?}");
    }
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
