use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use scheduler::sim::{Arrivals, Contender};

/// Replays traces under our policy and those that others use, and compares what they cost.
///
/// Reads every trace of a directory: pairs X_functions.csv and X_invocations.csv that count invocations per minute, and
/// other *.csv that list requests by t_us, microseconds from the start, with duration_us, duration_ms, duration_s or
/// generated_tokens, and, if there are several services, service and mem_mb. traces/README.md says it in full.
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
    /// fixed-<span> only. Takes some ten seconds for a million requests, for each policy, start and β
    #[arg(long, group = "world")]
    pub(crate) live: bool,

    /// With --live or --chaos: how often each kind of fault happens, from 0 to 0.2: notifications and commands lost, doubled, late;
    /// starts that fail, instances and nodes that die, clocks that jump [default: 0, with --chaos 0.01]
    #[arg(long, value_name = "SHARE", value_parser = fault_share, requires = "world")]
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

    /// Simulate the published case of SimFaaS instead, and print both; takes --seed
    #[arg(long, group = "world", conflicts_with_all = STUDY, conflicts_with = "faults")]
    pub(crate) anchor: bool,

    /// Run so many random events through a scheduler with random services instead, faults as --faults says or 0.01, and
    /// check every rule after each; ends with 1 if one is broken or a request is late
    #[arg(
        long,
        group = "world",
        conflicts_with_all = STUDY,
        value_name = "EVENTS",
        value_parser = clap::value_parser!(u64).range(1..=1_000_000_000)
    )]
    pub(crate) chaos: Option<u64>,

    /// Compare our policy with the promises of the README; with --live: whether every request ended in time and every
    /// rule was kept. Ends with 1 and names each promise that is missed by over 1 %
    #[arg(long)]
    pub(crate) check: bool,
}

/// What is said about a study of traces only.
const STUDY: [&str; 12] = [
    "traces",
    "policy",
    "arrivals",
    "cold_start_ms",
    "beta",
    "token_ms",
    "jobs",
    "cores",
    "start_rate",
    "json",
    "svg",
    "check",
];

impl Args {
    /// What was given on the command line; if that cannot be, the process ends with 2 and says why.
    pub(crate) fn given() -> Self {
        let mut args = Self::parse();
        if let Err(error) = args.consistent() {
            error.exit();
        }
        once(&mut args.policy);
        once(&mut args.arrivals);
        once(&mut args.cold_start_ms);
        once(&mut args.beta);
        args
    }

    fn consistent(&self) -> Result<(), clap::Error> {
        let other = self.policy.iter().find(|policy| !policy.is_policy());
        let message = match other {
            Some(policy) if self.live => {
                format!("--live runs learned, ski-rental and fixed-<span> only, not {policy}")
            }
            _ if self.is_check_of_others() => {
                "--check is about learned, which --policy leaves out".to_string()
            }
            _ => return Ok(()),
        };
        Err(Self::command().error(ErrorKind::ArgumentConflict, message))
    }

    fn is_check_of_others(&self) -> bool {
        self.check && !self.live && !self.policy.is_empty() && !self.policy.contains(&Contender::Learned)
    }
}

/// What is given twice counts once.
fn once<T: PartialEq>(list: &mut Vec<T>) {
    let mut seen = Vec::new();
    for item in list.drain(..) {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    *list = seen;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The first line of what is told about a command line; nothing if it is well.
    fn told(line: &str) -> String {
        let args = Args::try_parse_from(line.split_whitespace());
        let error = args.and_then(|args| args.consistent()).err();
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        text.lines().next().unwrap_or_default().to_string()
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        for line in [
            "simulate --faults 0.01",
            "simulate --anchor --json",
            "simulate --anchor --faults 0.01",
            "simulate --anchor --chaos 10",
            "simulate --chaos 10 --traces somewhere",
            "simulate --chaos 10 --live",
            "simulate --cores 3",
        ] {
            assert!(told(line).starts_with("error: the "), "{line}: {}", told(line));
        }
        assert_eq!(
            told("simulate --live --policy learned,kpa"),
            "error: --live runs learned, ski-rental and fixed-<span> only, not kpa"
        );
        assert_eq!(
            told("simulate --check --policy kpa"),
            "error: --check is about learned, which --policy leaves out"
        );
    }

    #[test]
    fn what_is_given_twice_counts_once() {
        let mut list = vec![50, 5, 50, 5];
        once(&mut list);
        assert_eq!(list, [50, 5]);
    }

    #[test]
    fn what_goes_together_is_taken() {
        for line in [
            "simulate",
            "simulate --check",
            "simulate --live --faults 0.01 --cores 2 --start-rate 5 --policy learned,fixed-1s --check",
            "simulate --live --policy fixed-1s --check --json --svg chart.svg",
            "simulate --chaos 100 --faults 0.2 --seed 1",
            "simulate --anchor --seed 1",
        ] {
            assert_eq!(told(line), "", "{line}");
        }
    }
}
