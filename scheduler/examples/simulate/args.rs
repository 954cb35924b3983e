use std::path::PathBuf;

use clap::Parser;
use scheduler::sim::{Arrivals, Contender};

/// Replays traces under our policy and those that others use, and compares what they cost.
///
/// Reads every trace of a directory: pairs X_functions.csv and X_invocations.csv that count invocations per minute, and
/// other *.csv that list requests by t_us, microseconds from the start, with duration_us, duration_ms, duration_s or
/// generated_tokens, and, if there are several services, service and mem_mb.
///
/// J is idle memory plus β times waiting, both weighted by memory, relative to one who knows the future and keeps or
/// parks: 1 is as good as that. The same arguments print the same numbers on every machine.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
#[derive(Debug, Parser)]
#[command(name = "simulate", max_term_width = 110)]
pub(crate) struct Args {
    /// Directory of traces [default: those that come with this crate]
    #[arg(long, value_name = "DIR")]
    pub(crate) traces: Option<PathBuf>,

    /// Policies, separated by commas: learned, fixed-<span>, kpa, hybrid-histogram, greedy-dual-<percent>, ski-rental,
    /// sqrt-staffing-<span>, clairvoyant-keep, clairvoyant-start [default: all of them]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) policy: Vec<Contender>,

    /// Where within a minute the invocations come that a trace only counts: clump, uniform, equi [default: each]
    #[arg(long, value_name = "MODELS", value_delimiter = ',')]
    pub(crate) arrivals: Vec<Arrivals>,

    /// How long a start takes, in milliseconds, from 0.001 to 600000; several separated by commas
    #[arg(long, value_name = "MS", value_delimiter = ',', value_parser = millis, default_value = "5,50,500")]
    pub(crate) cold_start_ms: Vec<u64>,

    /// How many seconds of idle memory one second of waiting is worth, from 1 to 1000000; several separated by commas
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1_000_000), default_value = "20,200")]
    pub(crate) beta: Vec<u32>,

    /// Where random numbers begin
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,

    /// Milliseconds that a request runs for each of its generated_tokens, if it has no duration
    #[arg(long, value_name = "MS", value_parser = millis, default_value = "25")]
    pub(crate) token_ms: u64,

    /// Threads to work with, from 1; the numbers do not depend on it
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..), default_value_t = 1)]
    pub(crate) jobs: u16,

    /// Run real schedulers, event by event, in a simulated world, instead of the pool model: learned, ski-rental and
    /// fixed-<span> only. Takes a minute for a million requests
    #[arg(long)]
    pub(crate) live: bool,

    /// With --live or --chaos: how often each kind of fault happens, from 0 to 0.2: notifications and commands lost, doubled, late;
    /// starts that fail, instances and nodes that die, clocks that jump [default: 0]
    #[arg(long, value_name = "SHARE", value_parser = fault_share)]
    pub(crate) faults: Option<f64>,

    /// With --live: cores that starts and requests share, from 1 [default: as many as are wanted]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), requires = "live")]
    pub(crate) cores: Option<u32>,

    /// With --live: most starts a second, from 1, a tenth of them at once [default: no limit]
    #[arg(long, value_name = "STARTS", value_parser = clap::value_parser!(u64).range(1..), requires = "live")]
    pub(crate) start_rate: Option<u64>,

    /// Print JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,

    /// Also draw memory against delay for the first trace
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,

    /// Simulate the published case of SimFaaS instead, and print both
    #[arg(long)]
    pub(crate) anchor: bool,

    /// Run so many random events through a scheduler with random services instead, faults as --faults says or 0.01, and
    /// check every rule after each; ends with 1 if one is broken or a request is late
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) chaos: Option<u64>,

    /// Compare our policy with the promises of the README; ends with 1 and names each that is missed by over 1 %
    #[arg(long)]
    pub(crate) check: bool,
}

fn fault_share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=0.2).contains(share));
    share.ok_or_else(|| "must be a number from 0 to 0.2".to_string())
}

/// Milliseconds as microseconds.
fn millis(text: &str) -> Result<u64, String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{part:0<3}");
    let parsed = digits.parse().ok().filter(|_| part.len() <= 3);
    parsed
        .filter(|us| (1..=600_000_000).contains(us))
        .ok_or_else(|| "must be a number from 0.001 to 600000 with at most three decimals".to_string())
}
