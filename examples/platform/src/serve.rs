//! `serve`: the chain as a service.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::info;
use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::controller::{Activity, ServiceStatus};
use crate::line_sink::LineSink;
use crate::pace::Pace;
use crate::platform::{Platform, StartStep};

/// Told of sleeps and deaths at once, and then with every interval.
const LINES_AT_ONCE: u32 = 20;
const LINE_INTERVAL: Duration = Duration::from_millis(500);
/// A signal so soon after the first is the same again: `timeout`, for one, sends it to the process and then to its group.
const REPETITION: Duration = Duration::from_secs(1);
/// The last lines wait so long for a reader.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Serves until SIGTERM, SIGINT or SIGHUP, then drains. A second SIGTERM or SIGINT, a second or more later, ends the process at
/// once; a terminal that is closed meanwhile does not. SIGUSR1 has it explain on `errors` why the instance is as it is. Nobody has to
/// read what it says.
///
/// # Errors
/// What kept it from starting, or from keeping state in the end.
pub(crate) async fn run(config: Config, errors: LineSink) -> anyhow::Result<ExitCode> {
    log_to(errors.clone());
    let out = LineSink::new(std::io::stdout()).context("prepare to write to standard output")?;
    let served = serve(config, &out, &errors).await;
    out.flush(LAST_LINES);
    served.map(|()| ExitCode::SUCCESS)
}

/// Sends the log to `errors`; in colour only if a person looks at it and has not said otherwise (<https://no-color.org>).
fn log_to(errors: LineSink) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(!plain && std::io::stderr().is_terminal())
        .with_writer(move || errors.clone())
        .init();
}

async fn serve(config: Config, out: &LineSink, errors: &LineSink) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    // Unheard, it would end the process.
    let mut explain = signal(SignalKind::user_defined1()).context("listen for SIGUSR1")?;
    let (unattended_ms, state_dir) = (config.unattended_ms, config.state_dir.clone());
    let silence = match config.cooldown() {
        Some(cooldown) => format!("after {} ms of silence", cooldown.as_millis()),
        None => "when that costs less than to stay awake".to_owned(),
    };
    let told = {
        let out = out.clone();
        move |step| match step {
            StartStep::Checked => out.say("booting the guest and taking its snapshot (once) ...\n"),
            StartStep::Shells { ready, of } => out.say(format!("making VMs ahead: {ready} of {of} ...\n")),
        }
    };
    let platform = tokio::select! {
        started = Platform::start_telling(config, told) => started?,
        () = signals.first() => return Ok(()),
    };
    let addr = platform.addr();
    info!(%addr, "serving");
    let state = match &state_dir {
        Some(dir) => format!("its state is kept in {}", dir.display()),
        None => "its state ends with this process; --state-dir DIR keeps it".to_owned(),
    };
    out.say(format!(
        "serving on http://{addr} - the instance sleeps until a request comes\n  \
         try:  curl http://{addr}/count\n  \
         it goes back to sleep {silence}; Ctrl-C or SIGTERM drains and ends\n  \
         {state}\n"
    ));

    let narrator = tokio::spawn(narrate(platform.status(), unattended_ms, out.clone()));
    loop {
        tokio::select! {
            () = signals.first() => break,
            _ = explain.recv() => errors.say(format!("why: {}\nwhy not: {}\n", platform.why(), platform.why_not())),
        }
    }
    let first = Instant::now();
    out.say("draining ...\n");
    narrator.abort();
    // It was aborted or has ended; either is what we want.
    let _ = narrator.await;
    let stopped = tokio::select! {
        stopped = platform.shut_down() => stopped?,
        () = signals.second(first) => anyhow::bail!("stopped by a second signal; what was not kept is lost"),
    };
    let connections = stopped.connections;
    out.say(format!(
        "stopped: {} connections finished, {} refused, {} cut off; {} instance states kept\n",
        connections.finished, connections.refused, connections.aborted, stopped.kept
    ));
    Ok(())
}

/// Signals that end the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
            hangup: signal(SignalKind::hangup()).context("listen for SIGHUP")?,
        })
    }

    async fn first(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }

    /// Waits for one that is no repetition of the first, which came at `first`.
    async fn second(&mut self, first: Instant) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            if first.elapsed() >= REPETITION {
                return;
            }
        }
    }
}

/// One line whenever the instance has gone through a sleep or died, unless there are many: then now and then one, with the
/// numbers of that moment.
async fn narrate(mut status: watch::Receiver<ServiceStatus>, unattended_ms: u64, out: LineSink) {
    let mut last = *status.borrow_and_update();
    let mut pace = Pace::new(LINES_AT_ONCE, LINE_INTERVAL, Instant::now().into_std());
    loop {
        let slept = |now: &ServiceStatus| now.activity == Activity::Asleep && now.parks > last.parks;
        let died = |now: &ServiceStatus| now.deaths > last.deaths;
        let Ok(now) = status
            .wait_for(|now| slept(now) || died(now))
            .await
            .map(|now| *now)
        else {
            return;
        };
        if let Err(wait) = pace.take(Instant::now().into_std()) {
            tokio::time::sleep(wait).await;
            continue;
        }
        if died(&now) {
            out.say(format!(
                "the instance died ({} deaths so far); the next request starts a new one from the service's snapshot\n",
                now.deaths
            ));
            last.deaths = now.deaths;
        }
        if slept(&now) {
            let midway = match now.parks_midway > last.parks_midway {
                true => format!(
                    ", in the midst of something: nobody had waited for it for {unattended_ms} ms (unattended_ms); \
                     the next request lets it go on ({} such sleeps so far)",
                    now.parks_midway
                ),
                false => String::new(),
            };
            out.say(format!(
                "asleep ({} wakes so far, {} KiB saved){midway}\n",
                now.restores + now.boots,
                now.saved_bytes / 1024
            ));
            last = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_sleeps_are_told_of_in_few_lines_and_few_in_one_each() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let out = LineSink::new(&writer).unwrap();
        let status = watch::Sender::new(ServiceStatus::default());
        let narrator = tokio::spawn(narrate(status.subscribe(), 5, out.clone()));
        tokio::task::yield_now().await;
        let sleep_once = || async {
            status.send_modify(|status| {
                status.restores += 1;
                status.parks += 1;
            });
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        for _ in 0..10 {
            sleep_once().await;
        }
        out.say("in between\n");
        for _ in 0..1000 {
            sleep_once().await;
        }
        drop(status);
        narrator.await.unwrap();
        out.say("the end\n");
        out.flush(Duration::from_secs(20));
        let mut said = vec![0; 1 << 16];
        let len = reader.read(&mut said).unwrap();
        let said = std::str::from_utf8(&said[..len]).unwrap();
        let (few, many) = said.split_once("in between\n").unwrap();
        assert_eq!(few.lines().count(), 10, "{said}");
        // A thousand milliseconds: the rest of those at once, and one with every interval.
        assert!((10..=14).contains(&many.lines().count()), "{said}");
    }
}
