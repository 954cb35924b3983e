//! The verb: its arguments, and the loop over its steps.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::builder::PossibleValuesParser;

use super::step::{Outcome, STEPS, Step, Verdict};
use super::summary::{Record, clock, render};
use super::{kvm, tools};
use crate::workspace::Workspace;

/// Install what is missing, then run every check and test of the repository.
///
/// Ends with exit code 0 if no step has failed. Tests that this host cannot run are skipped and named; with
/// CI=true a /dev/kvm that cannot be opened is a failure, with REQUIRE_KVM=1 an absent one as well.
#[derive(Debug, clap::Args)]
pub(crate) struct Test {
    /// Run only this step; may be given several times
    #[arg(long, value_name = "STEP", value_parser = PossibleValuesParser::new(STEPS.iter().map(|step| step.name)))]
    only: Vec<String>,

    /// Stop after the first step that fails
    #[arg(long)]
    fail_fast: bool,

    /// Say what the steps are, and run none
    #[arg(long)]
    list: bool,
}

impl Test {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let steps: Vec<_> = STEPS.iter().filter(|step| self.wants(step)).collect();
        if self.list {
            for step in steps {
                println!("{:<8} {}", step.name, step.about);
            }
            return Ok(ExitCode::SUCCESS);
        }
        let workspace = Workspace::open()?;
        let started = Instant::now();
        let mut records: Vec<Record> = Vec::new();
        for (number, step) in (1..).zip(&steps) {
            let elapsed = clock(started.elapsed());
            println!(
                "\n── [{number}/{}] {}: {} (after {elapsed})",
                steps.len(),
                step.name,
                step.about
            );
            let step_started = Instant::now();
            let outcome =
                (step.run)(&workspace).unwrap_or_else(|error| Outcome::failed(format!("{error:#}")));
            let failed = outcome.verdict == Verdict::Failed;
            if failed || outcome.verdict == Verdict::Skipped {
                println!("{}", outcome.note);
            }
            records.push(Record {
                step: step.name,
                outcome,
                took: step_started.elapsed(),
            });
            if failed && self.fail_fast {
                break;
            }
        }
        let lacks: Vec<_> = [kvm::lack(), tools::lack()].into_iter().flatten().collect();
        println!("\n{}", render(&records, &lacks, started.elapsed()));
        let failed = records
            .iter()
            .any(|record| record.outcome.verdict == Verdict::Failed);
        Ok(if failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }

    fn wants(&self, step: &Step) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == step.name)
    }
}
