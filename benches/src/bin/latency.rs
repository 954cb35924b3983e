//! How long a restore takes, beside the least that the same system calls take.

use std::process::ExitCode;

use benches::rounds::{self, Rounds};
use benches::{Report, Subject};
use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Rounds that are not counted.
const WARM_UP: u32 = 10;

/// Measures restores of the demo guest with vmm-core and, in turns, with system calls alone.
#[derive(Debug, Parser)]
struct Args {
    /// Restores into a VM made ahead, of each side.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Restores into a new VM, of each side; a third of the rounds unless given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    cold_rounds: Option<u32>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let rounds = Rounds {
        warm: args.rounds,
        cold: args.cold_rounds.unwrap_or(args.rounds.div_ceil(3)),
        warm_up: WARM_UP,
    };
    let subject = Subject::boot()?;
    let bar = ProgressBar::new(u64::from(rounds.warm) + u64::from(rounds.cold));
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
    bar.set_style(ProgressStyle::with_template(
        "restoring in turns {bar:40} {pos}/{len}",
    )?);
    let samples = rounds::measure(&subject, rounds, || bar.inc(1))?;
    bar.finish_and_clear();
    let report = Report::new(samples);
    if args.json {
        println!("{}", report.json());
    } else {
        print!("{report}");
    }
    Ok(())
}
