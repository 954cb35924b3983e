//! Clients that do not mean well, or are many.

use anyhow::{Context, Result, ensure};

use crate::Test;
use crate::client::{Client, request};
use crate::service::Service;

pub(crate) const TESTS: &[Test] = &[
    (
        "hostile::connections_that_say_nothing_wake_nothing",
        connections_that_say_nothing_wake_nothing,
    ),
    (
        "hostile::more_clients_than_the_guest_takes_wait_and_are_answered",
        more_clients_than_the_guest_takes_wait_and_are_answered,
    ),
    (
        "hostile::garbage_is_answered_or_closed_and_harms_nobody",
        garbage_is_answered_or_closed_and_harms_nobody,
    ),
    (
        "hostile::a_client_that_reads_nothing_harms_nobody",
        a_client_that_reads_nothing_harms_nobody,
    ),
    (
        "hostile::more_than_may_wait_for_a_busy_guest_are_refused_with_a_hint",
        more_than_may_wait_for_a_busy_guest_are_refused_with_a_hint,
    ),
    (
        "hostile::more_than_may_be_held_are_refused_with_a_hint",
        more_than_may_be_held_are_refused_with_a_hint,
    ),
];

fn connections_that_say_nothing_wake_nothing() -> Result<()> {
    let service = Service::start(|config| config.cooldown_ms = 1)?;
    let silent = (0..200).map(|_| service.client()).collect::<Result<Vec<_>>>()?;
    // Connections are accepted in their order: when this one is answered, the others have long been.
    ensure!(service.get("/count")?.number()? == 1);
    let status = service.asleep()?;
    ensure!((status.restores, status.parks) == (1, 1), "{status:?}");
    for client in &silent {
        ensure!(client.is_silent()?);
    }
    drop(silent);
    ensure!(service.get("/count")?.number()? == 2);
    ensure!(service.asleep()?.restores == 2);
    service.stop()?;
    Ok(())
}

fn more_clients_than_the_guest_takes_wait_and_are_answered() -> Result<()> {
    // Four descriptors for each client, as both ends are here.
    if descriptors()? < 4_000 {
        eprintln!("too few open files are allowed: raise `ulimit -n` to 4000");
        return Ok(());
    }
    // The guest takes 512 connections at once, and ends idle ones for new ones, which wait meanwhile.
    let service = Service::start(|config| config.cooldown_ms = 50)?;
    let mut clients = (0..900).map(|_| service.client()).collect::<Result<Vec<_>>>()?;
    for client in &mut clients {
        client.send(request("/count"))?;
    }
    let mut answered = 0;
    for (number, client) in clients.iter_mut().enumerate() {
        let reply = client.receive().with_context(|| format!("client {number}"))?;
        ensure!(reply.status == 200, "client {number}: {reply:?}");
        answered += 1;
    }
    drop(clients);
    ensure!(service.get("/count")?.number()? == answered + 1);
    ensure!(service.asleep()?.deaths == 0);
    service.stop()?;
    Ok(())
}

/// How many files this process may have open.
fn descriptors() -> Result<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_ascii_whitespace().next());
    Ok(soft.context("a limit of open files")?.parse().unwrap_or(u64::MAX))
}

fn garbage_is_answered_or_closed_and_harms_nobody() -> Result<()> {
    let service = Service::start(|config| config.cooldown_ms = 5)?;
    let mut other = service.client()?;
    ensure!(other.get("/count")?.number()? == 1);
    for (count, byte) in (2..).zip([0, b'x', b'\n', 0xff]) {
        service.asleep()?;
        let mut garbage = service.client()?;
        // It may be closed in the midst of it.
        let _ = garbage.send(vec![byte; 1 << 20]);
        if let Ok(reply) = garbage.receive() {
            ensure!((400..600).contains(&reply.status), "{byte:#x}: {reply:?}");
        }
        ensure!(other.get("/count")?.number()? == count, "after {byte:#x}");
    }
    let status = service.status();
    ensure!(status.deaths == 0, "{status:?}");
    service.stop()?;
    Ok(())
}

fn a_client_that_reads_nothing_harms_nobody() -> Result<()> {
    let service = Service::start(|config| config.cooldown_ms = 5)?;
    let mut deaf = service.client()?;
    // Many answers that it does not take: more than lies on the way without a reader.
    let many = request("/echo?x").repeat(1_000);
    let mut sent = 0;
    while sent < 50_000 && deaf.try_send(&many)? {
        sent += 1_000;
    }
    for _ in 0..20 {
        ensure!(service.get("/count")?.status == 200);
    }
    drop(deaf);
    service.asleep()?;
    service.stop()?;
    Ok(())
}

fn more_than_may_be_held_are_refused_with_a_hint() -> Result<()> {
    // One may wait: of many that come at once some are refused, whatever the wake takes.
    let service = Service::start(|config| {
        config.max_held = 1;
        config.cooldown_ms = 1;
    })?;
    let mut refused = 0;
    for _ in 0..200 {
        service.asleep()?;
        let mut clients = (0..20)
            .map(|_| service.client())
            .collect::<Result<Vec<Client>>>()?;
        for client in &mut clients {
            client.send(request("/"))?;
        }
        for client in &mut clients {
            let reply = client.receive()?;
            match reply.status {
                200 => {}
                503 => {
                    refused += 1;
                    ensure!(
                        reply.head.to_lowercase().contains("\r\nretry-after: "),
                        "{reply:?}"
                    );
                    ensure!(reply.text().contains("the limit is 1"), "{reply:?}");
                }
                _ => anyhow::bail!("{reply:?}"),
            }
        }
        if refused > 0 {
            break;
        }
    }
    ensure!(refused > 0, "nobody was refused");
    ensure!(service.get("/")?.status == 200);
    service.stop()?;
    Ok(())
}

fn more_than_may_wait_for_a_busy_guest_are_refused_with_a_hint() -> Result<()> {
    let service = Service::start(|config| {
        config.cooldown_ms = 3_000;
        config.guest_connections = 4;
        config.max_held = 4;
    })?;
    service.get("/count")?;
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..20 {
        // While it works it answers nobody; but some may overtake.
        let mut busy = service.client()?;
        busy.send(request("/burn?ms=200"))?;
        let mut clients = (0..20).map(|_| service.client()).collect::<Result<Vec<_>>>()?;
        for client in &mut clients {
            client.send(request("/count"))?;
        }
        for client in &mut clients {
            let reply = client.receive()?;
            match reply.status {
                200 => answered += 1,
                503 => {
                    refused += 1;
                    ensure!(
                        reply.head.to_lowercase().contains("\r\nretry-after: "),
                        "{reply:?}"
                    );
                    ensure!(reply.text().contains("4 new connections wait"), "{reply:?}");
                }
                _ => anyhow::bail!("{reply:?}"),
            }
        }
        if refused > 0 {
            break;
        }
    }
    ensure!(
        answered >= 7 && refused >= 1,
        "{answered} answered, {refused} refused"
    );
    service.stop()?;
    Ok(())
}
