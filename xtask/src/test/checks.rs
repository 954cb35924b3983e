//! The steps that are cargo commands.

use std::io::{self, Write};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::arrows::LIBRARIES;
use super::excerpt::excerpt;
use super::step::Outcome;
use super::tally::Tally;
use crate::child;
use crate::workspace::{Workspace, cargo};

/// How long one command may take before it counts as hanging.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// The manifest of the unikernel, which is a workspace of its own.
const KERNEL: &str = "examples/guest/kernel/Cargo.toml";

pub(crate) fn fmt(workspace: &Workspace) -> Result<Outcome> {
    if !has("fmt") {
        return Ok(Outcome::skipped("needs rustfmt"));
    }
    run([workspace.cargo(["fmt", "--all", "--check"])])
}

pub(crate) fn clippy(workspace: &Workspace) -> Result<Outcome> {
    if !has("clippy") {
        return Ok(Outcome::skipped("needs clippy"));
    }
    let args = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
        "-D",
        "warnings",
    ];
    run([workspace.cargo(args)])
}

pub(crate) fn doc(workspace: &Workspace) -> Result<Outcome> {
    let mut doc = workspace.cargo(["doc", "--workspace", "--no-deps", "--all-features"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    run([doc])
}

/// Each crate by itself: features that another member turns on are not there.
pub(crate) fn alone(workspace: &Workspace) -> Result<Outcome> {
    let libraries = LIBRARIES.iter().flat_map(|name| {
        [
            workspace.cargo(["check", "-p", name]),
            workspace.cargo(["check", "-p", name, "--examples"]),
        ]
    });
    let examples = ["guest", "platform"].map(|name| workspace.cargo(["check", "-p", name]));
    run(libraries.chain(examples))
}

pub(crate) fn guest(workspace: &Workspace) -> Result<Outcome> {
    let target = workspace.target_directory().join("guest-kernel");
    let kernel = |args: &[&str]| {
        let mut command = workspace.cargo(args.iter().copied());
        command.args(["--manifest-path", KERNEL]);
        command
    };
    let mut clippy = kernel(&["clippy", "--all-targets"]);
    clippy
        .arg("--target-dir")
        .arg(&target)
        .args(["--", "-D", "warnings"]);
    let mut tests = kernel(&["test", "--lib"]);
    tests.arg("--target-dir").arg(&target);
    run([kernel(&["fmt", "--check"]), clippy, tests])
}

/// One invocation for all crates, so that every dependency is built once.
pub(crate) fn tests(workspace: &Workspace) -> Result<Outcome> {
    run([workspace.cargo(["test", "--workspace", "--all-features", "--no-fail-fast"])])
}

/// What the README of the scheduler promises of its policy: an optimised build, and some minutes of one core.
pub(crate) fn policy(workspace: &Workspace) -> Result<Outcome> {
    let args = "run --release -p scheduler --features sim --example simulate -- --policy learned --check";
    run([workspace.cargo(args.split(' '))])
}

/// The policy of `deny.toml`.
pub(crate) fn deny(workspace: &Workspace) -> Result<Outcome> {
    if !has("deny") {
        return Ok(Outcome::skipped(
            "needs cargo-deny: `cargo install --locked cargo-deny`",
        ));
    }
    run([workspace.cargo(["deny", "check"])])
}

/// Whether cargo knows a subcommand.
fn has(subcommand: &str) -> bool {
    let mut command = cargo();
    command.args([subcommand, "--version"]);
    child::succeeds(command)
}

/// Runs every command, also after one has failed.
fn run(commands: impl IntoIterator<Item = Command>) -> Result<Outcome> {
    run_on(&mut io::stdout(), commands)
}

fn run_on(screen: &mut dyn Write, commands: impl IntoIterator<Item = Command>) -> Result<Outcome> {
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    let mut output = String::new();
    for command in commands {
        let finished = child::run(command, LIMIT, screen)?;
        tally.add(Tally::read(&finished.output));
        if let Some(failure) = finished.failure {
            output.push_str(&excerpt(&finished.output));
            output.push('\n');
            failures.push(failure);
        }
    }
    let outcome = if failures.is_empty() {
        let ran = tally.passed;
        Outcome::passed(if ran > 0 {
            format!("{ran} tests")
        } else {
            String::new()
        })
    } else {
        Outcome {
            output,
            ..Outcome::failed(failures.join("; "))
        }
    };
    Ok(Outcome { tally, ..outcome })
}

#[cfg(test)]
mod tests {
    use super::super::step::Verdict;
    use super::*;

    #[test]
    fn a_failure_does_not_keep_later_commands_from_running() {
        let sh = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let result = "echo 'test result: FAILED. 2 passed; 1 failed; 0 ignored;'";
        let outcome = run_on(&mut io::sink(), [sh(&format!("{result}; exit 1")), sh(result)]).unwrap();
        assert_eq!(outcome.verdict, Verdict::Failed);
        assert_eq!((outcome.tally.passed, outcome.tally.failed), (4, 2));
        assert!(
            outcome.note.ends_with("exit 1`: exit status: 1"),
            "{}",
            outcome.note
        );
    }
}
