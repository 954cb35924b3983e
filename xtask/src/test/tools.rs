//! The programs that checks and tests use beyond cargo itself.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::step::Outcome;
use crate::child;
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_secs(5 * 60);

/// How `apt-get` is asked for packages.
const INSTALL: &[&str] = &["install", "--yes", "--no-install-recommends"];

/// A program, where it comes from, and why it is wanted.
#[derive(Debug)]
struct Tool {
    /// A command that succeeds if the program is there.
    probe: &'static [&'static str],
    source: Source,
    needed_for: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A package of Debian, and of what descends from it.
    Debian(&'static str),
    /// A component of the Rust toolchain.
    Component(&'static str),
}

const TOOLS: &[Tool] = &[
    Tool {
        probe: &["cargo", "fmt", "--version"],
        source: Source::Component("rustfmt"),
        needed_for: "the format check",
    },
    Tool {
        probe: &["cargo", "clippy", "--version"],
        source: Source::Component("clippy"),
        needed_for: "lints",
    },
    Tool {
        probe: &["qemu-system-x86_64", "--version"],
        source: Source::Debian("qemu-system-x86"),
        needed_for: "booting the demo guest under a second VMM",
    },
    Tool {
        probe: &["curl", "--version"],
        source: Source::Debian("curl"),
        needed_for: "asking a sleeping instance with a client that is not ours",
    },
];

/// Installs what is missing as far as we may.
pub(crate) fn step(_: &Workspace) -> Result<Outcome> {
    let before = missing();
    for tool in &before {
        println!(
            "`{}` does not run; it is needed for {}",
            tool.probe.join(" "),
            tool.needed_for
        );
    }
    for command in installs(&before) {
        // Whether it helped is seen by looking again.
        let _ = child::run(command, LIMIT, &mut std::io::stdout())?;
    }
    let after = missing();
    Ok(match (before.len(), after.as_slice()) {
        (0, []) => Outcome::passed(format!("all {} there", TOOLS.len())),
        (installed, []) => Outcome::passed(format!("installed {installed}")),
        (_, after) => Outcome::skipped(advice(after)),
    })
}

/// What keeps tests from running, and what to do about it; none if every program is there.
pub(crate) fn lack() -> Option<String> {
    let missing = missing();
    (!missing.is_empty()).then(|| advice(&missing))
}

fn missing() -> Vec<&'static Tool> {
    let is_there = |tool: &&Tool| {
        let (program, args) = tool
            .probe
            .split_first()
            .expect("every tool of the list has a probe");
        let mut command = Command::new(program);
        command.args(args);
        child::succeeds(command)
    };
    TOOLS.iter().filter(|tool| !is_there(tool)).collect()
}

/// The commands that we may run ourselves.
fn installs(missing: &[&Tool]) -> Vec<Command> {
    let mut commands = Vec::new();
    let packages = packages(missing);
    if !packages.is_empty() && is_root() && Path::new("/etc/debian_version").exists() {
        let mut update = Command::new("apt-get");
        update.arg("update");
        let mut install = Command::new("apt-get");
        install
            .args(INSTALL)
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive");
        commands.extend([update, install]);
    }
    let components = components(missing);
    let mut rustup = Command::new("rustup");
    rustup.arg("--version");
    if !components.is_empty() && child::succeeds(rustup) {
        let mut add = Command::new("rustup");
        add.args(["component", "add"]).args(components);
        commands.push(add);
    }
    commands
}

/// What is missing, and the one line that installs it.
fn advice(missing: &[&Tool]) -> String {
    let mut lines = Vec::new();
    let packages = packages(missing);
    if !packages.is_empty() {
        lines.push(format!(
            "sudo apt-get {} {}",
            INSTALL.join(" "),
            packages.join(" ")
        ));
    }
    let components = components(missing);
    if !components.is_empty() {
        lines.push(format!("rustup component add {}", components.join(" ")));
    }
    let needed_for: Vec<_> = missing.iter().map(|tool| tool.needed_for).collect();
    format!(
        "programs are missing for {}: `{}`",
        needed_for.join(", "),
        lines.join(" && ")
    )
}

fn packages(missing: &[&Tool]) -> Vec<&'static str> {
    let package = |tool: &&Tool| match tool.source {
        Source::Debian(package) => Some(package),
        Source::Component(_) => None,
    };
    missing.iter().filter_map(package).collect()
}

fn components(missing: &[&Tool]) -> Vec<&'static str> {
    let component = |tool: &&Tool| match tool.source {
        Source::Component(component) => Some(component),
        Source::Debian(_) => None,
    };
    missing.iter().filter_map(component).collect()
}

/// Whether this process belongs to root.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_has_a_probe() {
        assert!(TOOLS.iter().all(|tool| !tool.probe.is_empty()));
    }

    #[test]
    fn one_line_installs_all_that_is_missing() {
        let missing: Vec<_> = TOOLS.iter().collect();
        assert_eq!(
            advice(&missing).split_once(": ").unwrap().1,
            "`sudo apt-get install --yes --no-install-recommends qemu-system-x86 curl && \
             rustup component add rustfmt clippy`"
        );
    }

    #[test]
    fn only_what_is_missing_is_named() {
        let curl: Vec<_> = TOOLS
            .iter()
            .filter(|tool| tool.source == Source::Debian("curl"))
            .collect();
        let advice = advice(&curl);
        assert!(
            advice.ends_with("`sudo apt-get install --yes --no-install-recommends curl`"),
            "{advice}"
        );
    }
}
