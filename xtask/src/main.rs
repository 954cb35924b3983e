//! Every repository chore behind one entry point: `cargo xtask <verb>`.
//!
//! One module per verb. A verb runs ordinary commands, shows each before it runs and passes its output on as it
//! comes, so whatever it does can be repeated by hand.
#![forbid(unsafe_code)]

mod child;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Repository chores.
#[derive(Debug, Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Install what is missing, then run every check and test of the repository
    Test(test::Test),
}

fn main() -> anyhow::Result<ExitCode> {
    match Xtask::parse().verb {
        Verb::Test(test) => test.run(),
    }
}
