//! `serve`: the chain as a service.

use std::io::Write;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::controller::{Activity, ServiceStatus};
use crate::platform::Platform;

/// Serves until SIGTERM, SIGINT or SIGHUP, then drains. A second signal ends the process at once.
///
/// # Errors
/// What kept it from starting, or from keeping state in the end.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;

    let (cooldown_ms, state_dir) = (config.cooldown_ms, config.state_dir.clone());
    say(format_args!(
        "booting the guest and taking its snapshot (once) ..."
    ));
    let platform = tokio::select! {
        started = Platform::start(config) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
        _ = hangup.recv() => return Ok(()),
    };
    say(format_args!(
        "serving on http://{} - the instance sleeps until a request comes",
        platform.addr()
    ));
    say(format_args!("  try:  curl http://{}/count", platform.addr()));
    say(format_args!(
        "  it goes back to sleep after {cooldown_ms} ms of silence; Ctrl-C or SIGTERM drains and ends"
    ));
    match &state_dir {
        Some(dir) => say(format_args!("  its state is kept in {}", dir.display())),
        None => say(format_args!(
            "  its state ends with this process; --state-dir DIR keeps it"
        )),
    }

    let narrator = tokio::spawn(narrate(platform.status()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup.recv() => {}
    }
    say(format_args!("draining ..."));
    narrator.abort();
    // It was aborted or has ended; either is what we want.
    let _ = narrator.await;
    let stopped = tokio::select! {
        stopped = platform.shut_down() => stopped.map_err(|error| anyhow::anyhow!(error.report()))?,
        _ = terminate.recv() => anyhow::bail!("stopped by a second signal; what was not kept is lost"),
        _ = interrupt.recv() => anyhow::bail!("stopped by a second signal; what was not kept is lost"),
    };
    let connections = stopped.connections;
    say(format_args!(
        "stopped: {} connections finished, {} refused, {} cut off; {} instance states kept",
        connections.finished, connections.refused, connections.aborted, stopped.kept
    ));
    Ok(())
}

/// One line whenever the instance has gone through a sleep or died; changes in between are skipped.
async fn narrate(mut status: watch::Receiver<ServiceStatus>) {
    let mut last = *status.borrow_and_update();
    while status.changed().await.is_ok() {
        let now = *status.borrow_and_update();
        if now.deaths > last.deaths {
            say(format_args!(
                "the instance died; the next request starts a new one from the service's snapshot"
            ));
        }
        if now.activity == Activity::Asleep && now.parks > last.parks {
            let kib = now.saved_bytes / 1024;
            say(format_args!(
                "asleep ({} wakes so far, {} KiB saved)",
                now.restores + now.boots,
                kib
            ));
            last = now;
        }
        last.deaths = now.deaths;
    }
}

fn say(line: std::fmt::Arguments<'_>) {
    // Nobody reading standard output is no reason to stop serving.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
