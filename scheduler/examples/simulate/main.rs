//! Compares scale policies on traces: ours and those that others use.
//!
//! `cargo run --release -p scheduler --features sim --example simulate -- --traces DIR [--json] [--svg FILE]`
//!
//! `--help` lists everything it can do.

mod args;
mod progress;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use scheduler::sim::{
    Anchor, Arrivals, Cells, Chaos, Chart, Contender, Faults, Json, LiveConfig, Recording, Row, Study, Table,
    Trace, check,
};
use scheduler::{LimitsConfig, RateLimit, Settings};

use crate::args::Args;
use crate::progress::Progress;

/// How a process ends that writes to a pipe which nobody reads any more: as the signal would end it.
const CLOSED_PIPE: u8 = 128 + 13;

fn main() -> Result<ExitCode> {
    let args = Args::given();
    match run(&args) {
        Err(error) if is_closed_pipe(&error) => Ok(ExitCode::from(CLOSED_PIPE)),
        ended => ended,
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn run(args: &Args) -> Result<ExitCode> {
    if args.anchor {
        let (ours, published) = (Anchor::simulate(1_000_000, args.seed), Anchor::PUBLISHED);
        say(format_args!("ours:    {ours}\nSimFaaS: {published}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(events) = args.chaos {
        let faults = args.faults.unwrap_or(0.01);
        let seed = args.seed;
        let counts = Chaos { events, faults, seed }.run();
        say(format_args!("{counts}\n"))?;
        return Ok(exit_code(counts.is_sound()));
    }
    if let Some(path) = &args.svg {
        // Before hours of work, not after; what stands there is not lost if they are broken off.
        let file = File::options().append(true).create(true).open(path);
        file.with_context(|| format!("write {}", path.display()))?;
    }
    let rows = study(args)?;
    if args.json {
        say(format_args!("{}\n", Json(&rows)))?;
    } else {
        say(format_args!("{}", Cells(&rows)))?;
    }
    if let Some(path) = &args.svg {
        let first = rows
            .chunk_by(|a, b| a.trace == b.trace)
            .next()
            .unwrap_or_default();
        let text = Chart(first).to_string();
        fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    if !args.check {
        return Ok(ExitCode::SUCCESS);
    }
    let verdicts = check(&rows);
    for verdict in &verdicts {
        writeln!(io::stderr(), "{verdict}")?;
    }
    let missed = verdicts.iter().filter(|verdict| verdict.is_missed()).count();
    writeln!(io::stderr(), "{missed} of {} promises missed", verdicts.len())?;
    Ok(exit_code(missed == 0 && !verdicts.is_empty()))
}

fn say(text: fmt::Arguments<'_>) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_fmt(text)
        .and_then(|()| out.flush())
        .context("write to the standard output")
}

fn exit_code(well: bool) -> ExitCode {
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn study(args: &Args) -> Result<Vec<Row>> {
    let shipped = || concat!(env!("CARGO_MANIFEST_DIR"), "/traces").into();
    let dir = args.traces.clone().unwrap_or_else(shipped);
    let mut note = |skipped: &str| {
        // Nothing depends on whether it can be seen.
        let _ = writeln!(io::stderr(), "skip {skipped}: no column t_us");
    };
    let recordings = Recording::read_dir(&dir, args.token_ms, &mut note)
        .with_context(|| format!("read the traces of {}", dir.display()))?;
    let study = Study {
        contenders: match (&args.policy[..], args.check) {
            ([], false) => Contender::ALL.to_vec(),
            ([], true) => vec![Contender::Learned],
            (chosen, _) => chosen.to_vec(),
        },
        cold_starts_us: args.cold_start_ms.clone(),
        betas: args.beta.clone(),
        live: args.live.then(|| LiveConfig {
            faults: Faults::all(args.faults.unwrap_or(0.0)),
            cores: args.cores,
            settings: Settings {
                limits: LimitsConfig {
                    starts: args
                        .start_rate
                        .map(|rate| RateLimit::new(rate, rate.div_ceil(10))),
                    ..LimitsConfig::default()
                },
                ..Settings::default()
            },
            seed: args.seed,
            ..LiveConfig::default()
        }),
        jobs: args.jobs.into(),
    };
    let mut rows = Vec::new();
    for recording in &recordings {
        for model in models(args, recording) {
            let trace: Trace = recording.trace(model, args.seed);
            let progress = Progress::new(&trace.name);
            let found = study.run(&trace, &|done, total| progress.show(done, total));
            let found = found.map_err(|mut problems| problems.remove(0))?;
            drop(progress);
            if !args.json {
                print_table(&found)?;
            }
            rows.extend(found);
        }
    }
    Ok(rows)
}

/// At once, so that a study that is broken off was not in vain.
fn print_table(rows: &[Row]) -> Result<()> {
    say(format_args!("{}\n", Table(rows)))?;
    for row in rows {
        if let Some(counts) = row.live {
            let start_ms = row.cold_start_us as f64 / 1_000.0;
            let (policy, shed, requests) = (&row.policy, row.outcome.shed, row.outcome.requests);
            say(format_args!(
                "{policy}, start {start_ms} ms: {shed} of {requests} requests shed; {counts}\n"
            ))?;
        }
    }
    Ok(())
}

/// The arrival models that matter to a recording: one, if it tells times itself.
fn models(args: &Args, recording: &Recording) -> Vec<Arrivals> {
    match (recording.counts_only(), &args.arrivals[..]) {
        (false, _) => vec![Arrivals::Clump],
        (true, []) => Arrivals::ALL.to_vec(),
        (true, chosen) => chosen.to_vec(),
    }
}
