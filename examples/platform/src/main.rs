//! The platform as a program.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match platform::cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
