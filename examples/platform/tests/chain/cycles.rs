//! Falling asleep and waking, again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use platform::Dial;

use crate::Test;
use crate::service::Service;

pub(crate) const TESTS: &[Test] = &[
    (
        "cycles::a_thousand_sleeps_lose_no_request",
        a_thousand_sleeps_lose_no_request,
    ),
    (
        "cycles::with_a_dial_it_sleeps_by_what_was_measured",
        with_a_dial_it_sleeps_by_what_was_measured,
    ),
    (
        "cycles::shutting_down_leaves_nothing_behind",
        shutting_down_leaves_nothing_behind,
    ),
    (
        "cycles::it_sleeps_soon_after_its_cooldown_and_never_before",
        it_sleeps_soon_after_its_cooldown_and_never_before,
    ),
];

fn a_thousand_sleeps_lose_no_request() -> Result<()> {
    const CYCLES: u64 = 1_000;
    let service = Service::start(|config| config.cooldown_ms = 1)?;
    for cycle in 1..=CYCLES {
        service.asleep()?;
        let count = service.get("/count")?.number()?;
        ensure!(count == cycle, "request {cycle} was counted as {count}");
    }
    let status = service.asleep()?;
    ensure!((status.restores, status.parks) == (CYCLES, CYCLES), "{status:?}");
    ensure!(
        (status.boots, status.deaths, status.failed_starts) == (0, 0, 0),
        "{status:?}"
    );
    service.stop()?;
    Ok(())
}

fn it_sleeps_soon_after_its_cooldown_and_never_before() -> Result<()> {
    const COOLDOWN_MS: u64 = 20;
    let cooldown = Duration::from_millis(COOLDOWN_MS);
    let service = Service::start(|config| config.cooldown_ms = COOLDOWN_MS)?;
    let mut late = Histogram::<u64>::new(3)?;
    for _ in 0..100 {
        service.asleep()?;
        let sent = Instant::now();
        service.get("/")?;
        let answered = Instant::now();
        service.asleep()?;
        let asleep = Instant::now();
        ensure!(
            asleep - sent >= cooldown,
            "asleep {:?} after the request was sent",
            asleep - sent
        );
        let after = (asleep - answered).saturating_sub(cooldown);
        late.record(u64::try_from(after.as_micros())?.max(1))?;
    }
    let [p50, p99] = [0.5, 0.99].map(|quantile| late.value_at_quantile(quantile));
    eprintln!(
        "asleep after the cooldown, in µs: p50 {p50}, p99 {p99}, max {}",
        late.max()
    );
    // The promise is 5 ms on an idle machine, which a test cannot ask for.
    ensure!(
        p50 < 100_000,
        "half of the sleeps began {p50} µs or more after the cooldown"
    );
    service.stop()?;
    Ok(())
}

fn with_a_dial_it_sleeps_by_what_was_measured() -> Result<()> {
    let service = Service::start(|config| config.dial = Some(Dial::Economy))?;
    for count in 1..=20 {
        ensure!(service.get("/count")?.number()? == count);
        let status = service.asleep()?;
        ensure!(status.restores <= count && status.written_bytes > 0, "{status:?}");
    }
    let mut why = String::new();
    for _ in 0..100 {
        service.get("/count")?;
        why = service.platform().why();
        if why.contains("(learned: ") {
            break;
        }
    }
    ensure!(why.contains("(learned: ") && why.contains("β 20"), "{why}");
    service.stop()?;
    Ok(())
}

fn shutting_down_leaves_nothing_behind() -> Result<()> {
    for _ in 0..3 {
        let service = Service::start(|config| config.cooldown_ms = 1)?;
        let mut open = service.client()?;
        open.get("/count")?;
        service.asleep()?;
        open.get("/count")?;
        let host = Arc::downgrade(service.platform().host());
        let stopped = service.stop()?;
        ensure!(stopped.connections.aborted == 0, "{stopped:?}");
        // With it go its shells, their threads and the saved states.
        ensure!(host.upgrade().is_none(), "somebody still has the host");
    }
    Ok(())
}
