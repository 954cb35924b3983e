//! What a run came to, as text.

use std::fmt::Write;
use std::time::Duration;

use super::step::{Outcome, Verdict};
use super::tally::{Skipped, Tally};

/// A step that has run.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) step: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) took: Duration,
}

/// The output of failed steps, the table of all steps, the skipped tests with what this host `lacks`, and one
/// closing line.
pub(crate) fn render(records: &[Record], lacks: &[String], took: Duration) -> String {
    let mut text = String::new();
    for Record { step, outcome, .. } in records {
        if outcome.verdict == Verdict::Failed && !outcome.output.trim().is_empty() {
            line(
                &mut text,
                format_args!(
                    "── output of the failed step {step}\n{}\n",
                    outcome.output.trim_end()
                ),
            );
        }
    }
    line(
        &mut text,
        format_args!("{:<8} {:<8} {:>7}  note", "step", "result", "time"),
    );
    let mut tally = Tally::default();
    for Record { step, outcome, took } in records {
        let result = word(outcome.verdict);
        let row = format!("{step:<8} {result:<8} {:>7}  {}", clock(*took), outcome.note);
        line(&mut text, format_args!("{}", row.trim_end()));
        tally.add(outcome.tally.clone());
    }
    if tally.ignored > 0 {
        skipped_tests(&mut text, &tally, lacks);
    }
    let count = |verdict| {
        records
            .iter()
            .filter(|record| record.outcome.verdict == verdict)
            .count()
    };
    line(
        &mut text,
        format_args!(
            "\ncargo xtask test: {}; steps: {} passed, {} failed, {} skipped; tests: {} passed, {} failed, {} \
             ignored; {}",
            if count(Verdict::Failed) == 0 {
                "ok"
            } else {
                "FAILED"
            },
            count(Verdict::Passed),
            count(Verdict::Failed),
            count(Verdict::Skipped),
            tally.passed,
            tally.failed,
            tally.ignored,
            clock(took),
        ),
    );
    text
}

/// `7.3 s` below a minute, `2m08s` from there on.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{}m{:02}s", seconds / 60, seconds % 60)
    }
}

fn skipped_tests(text: &mut String, tally: &Tally, lacks: &[String]) {
    line(text, format_args!("\n{} tests were skipped:", tally.ignored));
    let mut suite = None;
    for Skipped {
        suite: of,
        name,
        reason,
    } in &tally.skipped
    {
        if suite != Some(of) {
            line(text, format_args!("  {of}"));
            suite = Some(of);
        }
        let reason = reason
            .as_ref()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        line(text, format_args!("    {name}{reason}"));
    }
    if lacks.is_empty() {
        line(
            text,
            format_args!("This host lacks nothing: they are ignored by choice."),
        );
    }
    for lack in lacks {
        line(text, format_args!("To run them: {lack}"));
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Skipped => "skipped",
        Verdict::Failed => "FAILED",
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes what is written to it");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: &'static str, outcome: Outcome) -> Record {
        Record {
            step,
            outcome,
            took: Duration::from_millis(1234),
        }
    }

    #[test]
    fn a_good_run_is_a_table_and_a_closing_line() {
        let tests = Outcome {
            tally: Tally {
                passed: 7,
                ..Tally::default()
            },
            ..Outcome::passed("7 tests")
        };
        let records = [record("fmt", Outcome::passed("")), record("tests", tests)];
        assert_eq!(
            render(&records, &[], Duration::from_secs(128)),
            "step     result      time  note\n\
             fmt      passed     1.2 s\n\
             tests    passed     1.2 s  7 tests\n\
             \n\
             cargo xtask test: ok; steps: 2 passed, 0 failed, 0 skipped; tests: 7 passed, 0 failed, 0 ignored; 2m08s\n"
        );
    }

    #[test]
    fn the_output_of_a_failed_step_comes_first() {
        let failed = Outcome {
            output: "error: x\n".into(),
            ..Outcome::failed("`cargo clippy`: exit status: 1")
        };
        let text = render(&[record("clippy", failed)], &[], Duration::ZERO);
        assert!(
            text.starts_with("── output of the failed step clippy\nerror: x\n\nstep "),
            "{text}"
        );
        assert!(
            text.contains("\ncargo xtask test: FAILED; steps: 0 passed, 1 failed, 0 skipped;"),
            "{text}"
        );
    }

    #[test]
    fn skipped_tests_are_named_with_what_is_lacking() {
        let skipped = |suite: &str, name: &str, reason: Option<&str>| Skipped {
            suite: suite.into(),
            name: name.into(),
            reason: reason.map(Into::into),
        };
        let list = vec![
            skipped("tests/kvm.rs", "boots", None),
            skipped("tests/kvm.rs", "restores", None),
            skipped("tests/qemu.rs", "boots", Some("no QEMU")),
        ];
        let tally = Tally {
            ignored: 3,
            skipped: list,
            ..Tally::default()
        };
        let records = [record(
            "tests",
            Outcome {
                tally,
                ..Outcome::passed("")
            },
        )];
        let text = render(&records, &["open /dev/kvm".into()], Duration::ZERO);
        let expected = "3 tests were skipped:\n  tests/kvm.rs\n    boots\n    restores\n  tests/qemu.rs\n    boots: no QEMU\n\
                        To run them: open /dev/kvm\n";
        assert!(text.contains(expected), "{text}");
    }
}
