//! Guests that are never quiet, and that nobody waits for.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::Test;
use crate::asleep::{SHELLS, settled};
use crate::client::{Reply, get};
use crate::kernel::{self, Wedged};
use crate::process::Process;
use crate::service::Service;

pub(crate) const TESTS: &[Test] = &[
    (
        "unattended::a_computation_is_frozen_midway_and_ends_after_the_next_request",
        a_computation_is_frozen_midway_and_ends_after_the_next_request,
    ),
    (
        "unattended::a_computation_that_was_frozen_survives_the_platform",
        a_computation_that_was_frozen_survives_the_platform,
    ),
    (
        "unattended::a_halted_guest_costs_nothing_when_its_client_has_left",
        a_halted_guest_costs_nothing_when_its_client_has_left,
    ),
    (
        "unattended::a_spinning_guest_costs_nothing_when_its_client_has_left",
        a_spinning_guest_costs_nothing_when_its_client_has_left,
    ),
    (
        "unattended::a_wedged_guest_that_was_frozen_is_given_up_after_three_timeouts",
        a_wedged_guest_that_was_frozen_is_given_up_after_three_timeouts,
    ),
    (
        "unattended::a_busy_guest_runs_on_if_it_may",
        a_busy_guest_runs_on_if_it_may,
    ),
];

/// A client that waits for a computation gives up in the midst of it: then the guest has begun, and nobody waits.
const BURN_MS: u64 = 2_500;
const ANSWER_MS: u64 = 1_000;

fn begin_to_burn(service: &Service) -> Result<()> {
    let reply = ask(service, &format!("/burn?ms={BURN_MS}"))?;
    ensure!(reply.status == 504, "{reply:?}");
    Ok(())
}

/// One request of a client that goes without a farewell, which a busy guest would have to return.
fn ask(service: &Service, path: &str) -> Result<Reply> {
    let mut client = service.client()?;
    let reply = client.get(path)?;
    client.leave()?;
    Ok(reply)
}

/// What the guest counts to, once it has time for that.
fn count(service: &Service) -> Result<u64> {
    let reply = ask(service, "/count")?;
    match reply.status {
        504 => ask(service, "/count")?.number(),
        _ => reply.number(),
    }
}

fn a_computation_is_frozen_midway_and_ends_after_the_next_request() -> Result<()> {
    let service = Service::start(|config| {
        config.cooldown_ms = 2;
        config.unattended_ms = 50;
        config.answer_ms = ANSWER_MS;
    })?;
    let mut other = service.client()?;
    let mut last = other.get("/count")?.number()?;
    for round in 1..=2 {
        begin_to_burn(&service)?;
        let status = service.wait("frozen", |status| status.parks_midway == round)?;
        ensure!(status.deaths == 0, "{status:?}");
        // It knows what it knew; a request that was not answered in time may have been done all the same.
        let now = count(&service)?;
        ensure!((last + 1..=last + 2).contains(&now), "{last}, then {now}");
        // A connection on which nothing was under way has stayed open.
        last = other.get("/count")?.number()?;
        ensure!((now + 1..=now + 2).contains(&last), "{now}, then {last}");
    }
    ensure!(service.status().deaths == 0);
    service.stop()?;
    Ok(())
}

fn a_computation_that_was_frozen_survives_the_platform() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let change = |config: &mut platform::Config| {
        config.cooldown_ms = 2;
        config.unattended_ms = 50;
        config.answer_ms = ANSWER_MS;
        config.state_dir = Some(dir.path().to_owned());
    };
    let service = Service::start(change)?;
    ensure!(ask(&service, "/count")?.number()? == 1);
    begin_to_burn(&service)?;
    service.wait("frozen", |status| status.parks_midway == 1)?;
    ensure!(service.stop()?.kept == 1);
    let service = Service::start(change)?;
    let now = count(&service)?;
    ensure!((2..=3).contains(&now), "{now}");
    ensure!(service.status().deaths == 0);
    service.stop()?;
    Ok(())
}

fn a_halted_guest_costs_nothing_when_its_client_has_left() -> Result<()> {
    costs_nothing(Wedged::Halted)
}

fn a_spinning_guest_costs_nothing_when_its_client_has_left() -> Result<()> {
    costs_nothing(Wedged::Spinning)
}

fn costs_nothing(how: Wedged) -> Result<()> {
    let (_kernel, path) = kernel::never_answering(how)?;
    let (_config, config) =
        kernel::file(b"unattended_ms = 100\nanswer_ms = 100\ncooldown_ms = 5\nmemory_mib = 32\n")?;
    let text = |path: &std::path::Path| {
        path.to_str()
            .context("a temporary path is text")
            .map(str::to_owned)
    };
    let (mut process, addr) = Process::serve(&["--config", &text(&config)?, "--kernel", &text(&path)?])?;
    settled(&mut process)?;
    let before = descriptors(process.id())?;
    for _ in 0..2 {
        ensure!(get(addr, "/")?.status == 504);
        let line = process.line("asleep (")?;
        ensure!(line.contains("in the midst of something"), "{line:?}");
    }
    // No vCPU but those of the shells, none of which runs.
    let vcpus = settled(&mut process)?;
    process.silence(Duration::from_millis(300))?;
    let after = settled(&mut process)?;
    let cpu_ns = |threads: &[crate::asleep::Thread]| threads.iter().map(|thread| thread.cpu_ns).sum::<u64>();
    ensure!(
        after.len() == SHELLS && cpu_ns(&vcpus) == cpu_ns(&after),
        "{how:?}: {vcpus:?}, then {after:?}"
    );
    let open = descriptors(process.id())?;
    // The image of the sleeping instance may be one.
    ensure!(
        open.len() <= before.len() + 1,
        "{how:?}: {} descriptors, then {}: {open:?}",
        before.len(),
        open.len()
    );
    let ended = process.terminate()?;
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(())
}

/// What a process has open.
fn descriptors(pid: u32) -> Result<Vec<String>> {
    let mut open = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // One may be closed between the two looks.
        if let Ok(target) = fs::read_link(entry?.path()) {
            open.push(target.display().to_string());
        }
    }
    open.sort();
    Ok(open)
}

fn a_wedged_guest_that_was_frozen_is_given_up_after_three_timeouts() -> Result<()> {
    let (_kernel, path) = kernel::never_answering(Wedged::Spinning)?;
    let service = Service::start(|config| {
        config.kernel = Some(path);
        config.cooldown_ms = 2;
        config.unattended_ms = 20;
        config.answer_ms = 100;
    })?;
    for timeouts in 1..=2 {
        ensure!(service.get("/")?.status == 504);
        let status = service.wait("frozen", |status| status.parks_midway == timeouts)?;
        ensure!((status.restores, status.deaths) == (timeouts, 0), "{status:?}");
    }
    // The third may hear of the end itself.
    let reply = service.get("/")?;
    ensure!(matches!(reply.status, 502 | 504), "{reply:?}");
    service.wait("given up", |status| status.deaths == 1)?;
    service.stop()?;
    Ok(())
}

fn a_busy_guest_runs_on_if_it_may() -> Result<()> {
    let service = Service::start(|config| {
        config.cooldown_ms = 2;
        config.unattended_ms = 0;
        config.answer_ms = ANSWER_MS;
    })?;
    begin_to_burn(&service)?;
    let status = service.wait("asleep after it", |status| status.parks == 1)?;
    ensure!(status.parks_midway == 0 && status.parks_refused > 0, "{status:?}");
    ensure!(service.get("/count")?.number()? == 1);
    service.stop()?;
    Ok(())
}
