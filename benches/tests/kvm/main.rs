//! Floor and library restore the same guest, and `latency` prints what it promises. No times are judged here.

use std::process::Command;

use anyhow::{Context, ensure};
use benches::floor::{self, Saved, WarmShell};
use benches::{Subject, library};
use kvm_ioctls::Kvm;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::Value;

type Test = (&'static str, fn() -> anyhow::Result<()>);

const TESTS: [Test; 3] = [
    ("floor_and_library_both_wake_the_guest_again_and_again", both_wake),
    ("latency_prints_the_promised_json", latency_json),
    ("latency_prints_a_table_for_people", latency_table),
];

fn main() {
    let lack = benches::lack();
    let trial = |&(name, test): &Test| {
        let lack = lack.clone();
        let run = move || match lack {
            Some(lack) => Ok(Completion::ignored_with(lack)),
            None => match test() {
                Ok(()) => Ok(Completion::Completed),
                Err(error) => Err(Failed::from(format!("{error:#}"))),
            },
        };
        Trial::ignorable_test(name, run).with_kind("kvm")
    };
    libtest_mimic::run(&Arguments::from_args(), TESTS.iter().map(trial).collect()).exit();
}

fn both_wake() -> anyhow::Result<()> {
    let subject = Subject::boot()?;
    ensure!(
        !subject.memory().populate.is_empty(),
        "a wake that writes no page"
    );
    let saved = Saved::of(&subject)?;
    let kvm = Kvm::new()?;
    for _ in 0..3 {
        WarmShell::new(&kvm, &saved)?.restore(&saved)?;
        library::adopt(&subject, library::shell(&subject)?)?;
        floor::restore(&kvm, &saved)?;
        library::restore(&subject)?;
    }
    Ok(())
}

fn latency(args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_latency")).args(args).output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {stderr}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn latency_json() -> anyhow::Result<()> {
    let report: Value = serde_json::from_str(&latency(&["--json", "--rounds", "3", "--cold-rounds", "2"])?)?;
    let keys: Vec<&str> = report
        .as_object()
        .context("not an object")?
        .keys()
        .map(String::as_str)
        .collect();
    let promised = [
        "cold_floor_us",
        "cold_ratio_p50",
        "cold_us",
        "floor_us",
        "load",
        "ratio_p50",
        "restore_us",
    ];
    ensure!(keys == promised, "{keys:?}");
    let numbers = [
        "/floor_us/p50",
        "/floor_us/p99",
        "/restore_us/p50",
        "/restore_us/p99",
        "/ratio_p50",
        "/cold_floor_us",
        "/cold_us",
        "/cold_ratio_p50",
    ];
    for number in numbers {
        let value = report
            .pointer(number)
            .and_then(Value::as_f64)
            .with_context(|| format!("{number} in {report}"))?;
        ensure!(value > 0.0, "{number} is {value}");
    }
    Ok(())
}

fn latency_table() -> anyhow::Result<()> {
    let text = latency(&["--rounds", "1"])?;
    for word in ["p50", "p99", "floor", "vmm-core", "Load average", "cores"] {
        ensure!(text.contains(word), "no {word:?} in {text}");
    }
    Ok(())
}
