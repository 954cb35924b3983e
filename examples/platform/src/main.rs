//! The platform as a program.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    platform::cli::Cli::parse().run()
}
