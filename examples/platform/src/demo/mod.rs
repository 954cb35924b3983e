//! `demo`: the whole chain once, measured.

mod client;
mod cold;
mod report;
mod stage;

use std::future::poll_fn;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;

use self::client::Exchange;
use self::report::Report;
use self::stage::Stage;
use crate::cli::DemoArgs;
use crate::config::Config;
use crate::controller::{Activity, ServiceStatus};
use crate::phases::Durations;
use crate::platform::Platform;

/// Cold boots that are measured beside the wakes.
const COLD_BOOTS: usize = 5;
/// Clients that arrive at once at the sleeping instance.
const CROWD: usize = 100;
/// An instance that is not asleep after this will not be.
const SLEEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the demonstration and prints what happened. A signal breaks it off: the guest is stopped, nothing is left behind.
///
/// # Errors
/// What went wrong, or a promise that did not hold.
pub(crate) async fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let mut signals = Vec::new();
    for kind in [
        SignalKind::hangup(),
        SignalKind::interrupt(),
        SignalKind::terminate(),
    ] {
        let stream = signal(kind).with_context(|| format!("listen for signal {}", kind.as_raw_value()))?;
        signals.push((kind, stream));
    }
    let broken_off = poll_fn(|cx| {
        let ready = signals
            .iter_mut()
            .find_map(|(kind, stream)| stream.poll_recv(cx).is_ready().then_some(*kind));
        ready.map_or(Poll::Pending, Poll::Ready)
    });
    tokio::select! {
        shown = show(args) => shown.map(|()| ExitCode::SUCCESS),
        // With it goes the platform, and with that its directory.
        kind = broken_off => {
            let code = u8::try_from(128 + kind.as_raw_value())?;
            Ok(ExitCode::from(code))
        }
    }
}

async fn show(args: &DemoArgs) -> anyhow::Result<()> {
    let stage = Stage::new(args.json);
    let begun = Instant::now();
    let config = Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        cooldown_ms: args.cooldown_ms,
        memory_mib: args.memory_mib,
        ..Config::default()
    };
    let kernel_bytes = guest::ELF.len();
    let work = stage.begin(format!(
        "booting the guest ({} KiB ELF) on KVM and taking its snapshot",
        kernel_bytes / 1024
    ));
    let platform = Platform::start(config).await?;
    work.done(format!(
        "booted in {:.1} ms, snapshotted, asleep",
        millis(platform.boot_time())
    ));

    let work = stage.begin(format!("cold boots, for comparison ({COLD_BOOTS})"));
    let memory_bytes = args.memory_mib << 20;
    let cold = tokio::task::spawn_blocking(move || cold::measure(COLD_BOOTS, memory_bytes)).await??;
    work.done(format!(
        "cold boot to first byte: {:.1} ms",
        millis(cold.quantile(0.5))
    ));

    let work = stage.bar("waking the sleeping instance", u64::from(args.wakes));
    let wakes = wake_often(&platform, args.wakes, &work).await?;
    work.done(format!("woke {} times", args.wakes));
    let phases = platform.phases().snapshot();

    let work = stage.begin(format!("{CROWD} clients at once at the sleeping instance"));
    let crowd = crowd(&platform).await?;
    work.done(format!(
        "{} answered by {} restore",
        crowd.answered, crowd.restores
    ));

    let work = stage.begin("one connection, kept open while its instance sleeps".to_owned());
    let slept = connection_across_sleep(&platform).await?;
    work.done(format!("answered {slept} times, asleep in between"));

    let status = *platform.status().borrow();
    let report = Report {
        wakes: args.wakes,
        first_byte: wakes.first_byte,
        phases,
        cold_boot: cold,
        asleep_bytes: status.saved_bytes,
        memory_bytes,
        lost: wakes.lost + u64::try_from(CROWD - crowd.answered).unwrap_or(u64::MAX),
        count: wakes.count,
        count_ok: wakes.count_ok,
        took: begun.elapsed(),
        load: stage::load_average(),
    };
    platform.shut_down().await.context("end the platform")?;
    let text = if args.json {
        format!(
            "{}
",
            report.json()
        )
    } else {
        report.to_string()
    };
    // Who has stopped reading does not want the rest.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if let Some(cause) = wakes.failure.or(crowd.failure) {
        return Err(cause.context(format!("{} requests were lost, first", report.lost)));
    }
    ensure!(
        report.count_ok,
        "the guest's counter did not go on by one with each request"
    );
    ensure!(
        crowd.restores == 1,
        "{CROWD} clients caused {} restores instead of one",
        crowd.restores
    );
    Ok(())
}

struct Wakes {
    first_byte: Durations,
    lost: u64,
    count: u64,
    count_ok: bool,
    /// How the first that was lost failed.
    failure: Option<anyhow::Error>,
}

/// Wakes the instance `wakes` times, each with a new connection, and follows its counter.
async fn wake_often(platform: &Platform, wakes: u32, work: &stage::Work) -> anyhow::Result<Wakes> {
    let addr = platform.addr();
    let mut status = platform.status();
    let mut result = Wakes {
        first_byte: Durations::default(),
        lost: 0,
        count: 0,
        count_ok: true,
        failure: None,
    };
    for wake in 1..=wakes {
        asleep(&mut status).await?;
        match tokio::task::spawn_blocking(move || client::get(addr, "/count")).await? {
            Ok(Exchange { first_byte, body }) => {
                result.first_byte.record(first_byte);
                let count: Option<u64> = body.trim().parse().ok();
                result.count_ok &= count == Some(result.count + 1);
                result.count = count.unwrap_or(result.count);
            }
            Err(error) => {
                result.lost += 1;
                result
                    .failure
                    .get_or_insert(error.context(format!("that of wake {wake}")));
            }
        }
        work.step();
    }
    Ok(result)
}

struct Crowd {
    answered: usize,
    restores: u64,
    /// How the first that was not answered failed.
    failure: Option<anyhow::Error>,
}

/// Lets many clients arrive at once.
async fn crowd(platform: &Platform) -> anyhow::Result<Crowd> {
    let addr = platform.addr();
    let mut status = platform.status();
    asleep(&mut status).await?;
    let before = status.borrow().restores;
    let barrier = Arc::new(Barrier::new(CROWD));
    let mut clients = JoinSet::new();
    for _ in 0..CROWD {
        let barrier = Arc::clone(&barrier);
        clients.spawn(async move {
            barrier.wait().await;
            client::get_async(addr, "/").await
        });
    }
    let mut answered = 0;
    let mut failure = None;
    // In the order of their ends: those that waited in vain may have done so because of the first that failed.
    while let Some(client) = clients.join_next().await {
        match client? {
            Ok(_) => answered += 1,
            Err(error) => {
                failure.get_or_insert(error.context(format!("one of {CROWD} that came at once")));
            }
        }
    }
    let restores = status.borrow().restores - before;
    Ok(Crowd {
        answered,
        restores,
        failure,
    })
}

/// Keeps one connection open while its instance sleeps, and uses it again. Says how often it was answered.
async fn connection_across_sleep(platform: &Platform) -> anyhow::Result<usize> {
    let addr = platform.addr();
    let mut status = platform.status();
    let mut connection = client::Connection::open(addr).await?;
    for _ in 0..3 {
        asleep(&mut status).await?;
        connection
            .get("/count")
            .await
            .context("use a connection again after its instance slept")?;
    }
    Ok(3)
}

async fn asleep(status: &mut watch::Receiver<ServiceStatus>) -> anyhow::Result<()> {
    let sleeps = status.wait_for(|status| status.activity == Activity::Asleep);
    tokio::time::timeout(SLEEP_TIMEOUT, sleeps)
        .await
        .with_context(|| format!("the instance is not asleep after {} s", SLEEP_TIMEOUT.as_secs()))??;
    Ok(())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
