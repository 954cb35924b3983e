//! A step of the verb and what comes out of it.

use super::tally::Tally;
use super::{arrows, checks, kvm, shape, tools};
use crate::workspace::Workspace;

/// One step: independent of the others, so that a failure does not hide a second one.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&Workspace) -> anyhow::Result<Outcome>,
}

/// All steps in the order they run: cheap ones first.
pub(crate) const STEPS: &[Step] = &[
    Step {
        name: "tools",
        about: "install the programs that checks and tests use",
        run: tools::step,
    },
    Step {
        name: "kvm",
        about: "open /dev/kvm",
        run: kvm::step,
    },
    Step {
        name: "arrows",
        about: "no crate depends on one it must not know",
        run: arrows::step,
    },
    Step {
        name: "shape",
        about: "no long file, no path of a developer's machine",
        run: shape::step,
    },
    Step {
        name: "fmt",
        about: "formatting",
        run: checks::fmt,
    },
    Step {
        name: "deny",
        about: "licences, sources and duplicates of dependencies",
        run: checks::deny,
    },
    Step {
        name: "clippy",
        about: "lints of every target and feature",
        run: checks::clippy,
    },
    Step {
        name: "doc",
        about: "documentation and its links",
        run: checks::doc,
    },
    Step {
        name: "alone",
        about: "each crate builds without the others' features",
        run: checks::alone,
    },
    Step {
        name: "guest",
        about: "format, lints and unit tests of the guest kernel",
        run: checks::guest,
    },
    Step {
        name: "tests",
        about: "unit, property, integration and doc tests",
        run: checks::tests,
    },
    Step {
        name: "policy",
        about: "the scheduler's promises, on real traces",
        run: checks::policy,
    },
];

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Skipped,
    Failed,
}

/// What a step reports.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// One line: what was looked at, or what is wrong or missing.
    pub(crate) note: String,
    /// What to repeat at the end of a failed run.
    pub(crate) output: String,
    pub(crate) tally: Tally,
}

impl Outcome {
    pub(crate) fn passed(note: impl Into<String>) -> Self {
        Self::new(Verdict::Passed, note.into())
    }

    pub(crate) fn skipped(note: impl Into<String>) -> Self {
        Self::new(Verdict::Skipped, note.into())
    }

    pub(crate) fn failed(note: impl Into<String>) -> Self {
        Self::new(Verdict::Failed, note.into())
    }

    /// Passed if there are no problems; otherwise each is a line of the output.
    pub(crate) fn of_problems(problems: &[String], passed: String) -> Self {
        match problems {
            [] => Self::passed(passed),
            [only] => Self::failed(only),
            [first, rest @ ..] => {
                let note = format!("{first} (and {} more)", rest.len());
                Self {
                    output: problems.join("\n"),
                    ..Self::failed(note)
                }
            }
        }
    }

    fn new(verdict: Verdict, note: String) -> Self {
        Self {
            verdict,
            note,
            output: String::new(),
            tally: Tally::default(),
        }
    }
}
