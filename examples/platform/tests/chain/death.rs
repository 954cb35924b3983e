//! Guests that die, and guests that never live.

use anyhow::{Context, Result, ensure};

use crate::Test;
use crate::client::{Client, request};
use crate::kernel::{self, Then};
use crate::process::{PROGRAM, Process};
use crate::service::Service;

pub(crate) const TESTS: &[Test] = &[
    (
        "death::requests_in_flight_get_an_error_and_the_next_one_works",
        requests_in_flight_get_an_error_and_the_next_one_works,
    ),
    (
        "death::held_requests_get_an_answer_or_an_error_and_the_next_one_works",
        held_requests_get_an_answer_or_an_error_and_the_next_one_works,
    ),
    ("death::the_very_next_request_works", the_very_next_request_works),
    (
        "death::a_connection_that_slept_with_a_dead_guest_is_closed",
        a_connection_that_was_quiet_when_the_guest_died_is_closed,
    ),
    ("death::an_exit_is_a_death_too", an_exit_is_a_death_too),
    (
        "death::a_kernel_that_never_serves_is_named_with_what_it_printed",
        a_kernel_that_never_serves_is_named_with_what_it_printed,
    ),
    (
        "death::a_kernel_that_stops_is_named_with_what_it_printed",
        a_kernel_that_stops_is_named_with_what_it_printed,
    ),
    (
        "death::a_file_that_is_no_kernel_is_refused",
        a_file_that_is_no_kernel_is_refused,
    ),
    (
        "death::shells_that_cannot_be_made_are_an_error",
        shells_that_cannot_be_made_are_an_error,
    ),
];

/// The guest has answered, or the reply says clearly that it died; whether that.
fn is_clear_error(client: &mut Client) -> Result<bool> {
    let reply = client.receive()?;
    if reply.status == 200 {
        return Ok(false);
    }
    ensure!(matches!(reply.status, 502 | 503), "{reply:?}");
    ensure!(
        reply.head.contains("text/plain") && reply.text().trim().len() > 20,
        "{reply:?}"
    );
    ensure!(client.is_closed(), "open after {reply:?}");
    Ok(true)
}

fn requests_in_flight_get_an_error_and_the_next_one_works() -> Result<()> {
    let service = Service::start(|config| config.cooldown_ms = 3_000)?;
    for round in 1..=3 {
        let first = service.get("/count")?.number()?;
        ensure!(
            first == 1,
            "round {round} does not begin with the service's snapshot but with {first}"
        );
        // The guest does one thing after another: while it burns, the others arrive. One may overtake on a busy machine.
        let mut killer = service.client()?;
        killer.send([request("/burn?ms=300"), request("/crash")].concat())?;
        let mut others = (0..20).map(|_| service.client()).collect::<Result<Vec<_>>>()?;
        for client in &mut others {
            client.send(request("/count"))?;
        }
        let mut errors = 0;
        for client in &mut others {
            errors += u64::from(is_clear_error(client)?);
        }
        ensure!(errors > 0, "all overtook");
        let status = service.wait("dead", |status| status.deaths == round)?;
        ensure!(status.restores == round, "{status:?}");
    }
    service.get("/count")?.number()?;
    service.stop()?;
    Ok(())
}

fn held_requests_get_an_answer_or_an_error_and_the_next_one_works() -> Result<()> {
    let service = Service::start(|config| config.cooldown_ms = 5)?;
    for _ in 0..20 {
        service.asleep()?;
        let mut clients = (0..20).map(|_| service.client()).collect::<Result<Vec<_>>>()?;
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(request(if number == 10 { "/crash" } else { "/count" }))?;
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let error = is_clear_error(client).with_context(|| format!("client {number}"))?;
            ensure!(error || number != 10, "a crash was answered");
        }
        ensure!(service.get("/count")?.number()? > 0);
    }
    let status = service.status();
    ensure!(status.deaths == 20, "{status:?}");
    service.stop()?;
    Ok(())
}

fn the_very_next_request_works() -> Result<()> {
    let service = Service::start(|config| config.cooldown_ms = 3_000)?;
    for death in 1..=50 {
        let crashed = service.get("/crash")?;
        ensure!(matches!(crashed.status, 502 | 503), "death {death}: {crashed:?}");
        let next = service.get("/count")?;
        ensure!(next.status == 200, "after death {death}: {next:?}");
        ensure!(next.number()? == 1);
    }
    ensure!(service.status().deaths == 50, "{:?}", service.status());
    service.stop()?;
    Ok(())
}

fn a_connection_that_was_quiet_when_the_guest_died_is_closed() -> Result<()> {
    let service = Service::start(|config| config.cooldown_ms = 1)?;
    let mut quiet = service.client()?;
    quiet.get("/count")?;
    service.asleep()?;
    service.get("/crash")?;
    ensure!(quiet.is_closed(), "it is still open");
    ensure!(service.get("/count")?.number()? == 1);
    service.stop()?;
    Ok(())
}

fn an_exit_is_a_death_too() -> Result<()> {
    let service = Service::start(|config| config.cooldown_ms = 3_000)?;
    service.get("/count")?;
    let reply = service.get("/exit")?;
    // The guest's last words may arrive after the news of its end.
    ensure!(reply.text() == "bye\n" || reply.status == 502, "{reply:?}");
    service.wait("dead", |status| status.deaths == 1)?;
    ensure!(service.get("/count")?.number()? == 1);
    service.stop()?;
    Ok(())
}

fn a_kernel_that_never_serves_is_named_with_what_it_printed() -> Result<()> {
    let (_dir, path) = kernel::printing("no root device\n", Then::Halt)?;
    let error = Service::refused(|config| {
        config.kernel = Some(path);
        config.boot_ms = 300;
    })?;
    ensure!(
        error.contains("300 ms") && error.contains("no root device"),
        "{error}"
    );
    Ok(())
}

fn a_kernel_that_stops_is_named_with_what_it_printed() -> Result<()> {
    let (_dir, path) = kernel::printing("giving up\n", Then::Reset)?;
    let error = Service::refused(|config| config.kernel = Some(path))?;
    ensure!(error.contains("reset") && error.contains("giving up"), "{error}");
    Ok(())
}

fn a_file_that_is_no_kernel_is_refused() -> Result<()> {
    for bytes in [&b"#!/bin/sh\n"[..], b"", b"\x7fELF"] {
        let (_dir, path) = kernel::file(bytes)?;
        let error = Service::refused(|config| config.kernel = Some(path))?;
        ensure!(
            error.to_lowercase().contains("elf") || error.contains("kernel"),
            "{error}"
        );
    }
    Ok(())
}

fn shells_that_cannot_be_made_are_an_error() -> Result<()> {
    // Descriptors for the first VM, but not for so many.
    let mut command = std::process::Command::new("sh");
    let script = "ulimit -n 100; exec \"$1\" serve --listen 127.0.0.1:0 --shells 64";
    command.args(["-c", script, "sh", PROGRAM]);
    let ended = Process::spawn(command)?.end()?;
    ensure!(ended.code == Some(1), "{ended:?}");
    ensure!(
        ended.stderr.contains("error: ") && ended.stderr.contains("open files"),
        "{ended:?}"
    );
    let warning = ended
        .stderr
        .lines()
        .find(|line| line.contains("cannot make a shell"));
    let warning = warning.with_context(|| format!("no warning: {ended:?}"))?;
    ensure!(
        warning.contains("os error 24") && warning.contains("ulimit -n"),
        "{warning}"
    );
    Ok(())
}
