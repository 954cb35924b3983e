//! Many clients at once, and clients that leave.

use std::process::Command;
use std::sync::Barrier;
use std::thread;

use anyhow::{Result, ensure};

use crate::Test;
use crate::client::{get, request};
use crate::process::{PROGRAM, Process};
use crate::service::Service;

pub(crate) const TESTS: &[Test] = &[
    (
        "crowd::a_hundred_clients_at_once_cause_one_restore_and_are_answered",
        a_hundred_clients_at_once_cause_one_restore_and_are_answered,
    ),
    (
        "crowd::clients_that_leave_are_forgotten_and_cost_the_others_nothing",
        clients_that_leave_are_forgotten_and_cost_the_others_nothing,
    ),
    (
        "crowd::when_all_have_left_the_instance_sleeps",
        when_all_have_left_the_instance_sleeps,
    ),
    (
        "crowd::of_few_descriptors_none_that_a_client_in_needs_is_spent_on_another",
        of_few_descriptors_none_that_a_client_in_needs_is_spent_on_another,
    ),
];

fn a_hundred_clients_at_once_cause_one_restore_and_are_answered() -> Result<()> {
    const CLIENTS: u64 = 100;
    // It must not fall asleep between two clients of a slow machine.
    let service = Service::start(|config| config.cooldown_ms = 3_000)?;
    service.asleep()?;
    let barrier = Barrier::new(CLIENTS.try_into()?);
    let mut counts = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = service.client()?;
                    barrier.wait();
                    client.get("/count")?.number()
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client does not panic"))
            .collect::<Result<Vec<_>>>()
    })?;
    counts.sort_unstable();
    ensure!(counts.iter().copied().eq(1..=CLIENTS), "{counts:?}");
    let status = service.status();
    ensure!(
        (status.restores, status.boots, status.deaths) == (1, 0, 0),
        "{status:?}"
    );
    service.stop()?;
    Ok(())
}

fn clients_that_leave_are_forgotten_and_cost_the_others_nothing() -> Result<()> {
    const ROUNDS: u64 = 20;
    const EACH: u64 = 20;
    let service = Service::start(|config| config.cooldown_ms = 1)?;
    let mut last = 0;
    for _ in 0..ROUNDS {
        service.asleep()?;
        let mut staying = Vec::new();
        for _ in 0..EACH {
            let mut client = service.client()?;
            client.send(request("/count"))?;
            staying.push(client);
            let mut leaving = service.client()?;
            leaving.send(request("/count"))?;
            leaving.leave()?;
        }
        for client in &mut staying {
            last = last.max(client.receive()?.number()?);
        }
    }
    service.asleep()?;
    // Requests of those who left may have been carried out, or not; those of the others were.
    ensure!((ROUNDS * EACH..=2 * ROUNDS * EACH).contains(&last), "{last}");
    ensure!(service.platform().held() == 0);
    let status = service.status();
    ensure!(
        (status.boots, status.deaths, status.failed_starts) == (0, 0, 0),
        "{status:?}"
    );
    service.stop()?;
    Ok(())
}

fn when_all_have_left_the_instance_sleeps() -> Result<()> {
    let service = Service::start(|config| config.cooldown_ms = 1)?;
    for _ in 0..50 {
        service.asleep()?;
        let mut leaving = service.client()?;
        leaving.send(request("/count"))?;
        leaving.leave()?;
    }
    service.asleep()?;
    let count = service.get("/count")?.number()?;
    ensure!((1..=51).contains(&count), "{count}");
    service.asleep()?;
    ensure!(service.platform().held() == 0);
    service.stop()?;
    Ok(())
}

fn of_few_descriptors_none_that_a_client_in_needs_is_spent_on_another() -> Result<()> {
    for limit in ["100", "128", "160"] {
        let mut command = Command::new("sh");
        let script = "ulimit -n \"$2\"; exec \"$1\" serve --listen 127.0.0.1:0 --cooldown-ms 1";
        command.args(["-c", script, "sh", PROGRAM, limit]);
        let (process, addr) = Process::serving(command)?;
        thread::scope(|scope| {
            let clients: Vec<_> = (0..40)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..5 {
                            let reply = get(addr, "/burn?ms=3")?;
                            ensure!(reply.status == 200, "of {limit} descriptors: {reply:?}");
                        }
                        Ok(())
                    })
                })
                .collect();
            clients
                .into_iter()
                .try_for_each(|client| client.join().expect("a client does not panic"))
        })?;
        process.terminate()?;
    }
    Ok(())
}
