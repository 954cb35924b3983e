//! What clients may do with a connection.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use platform::Activity;

use crate::Test;
use crate::client::request;
use crate::service::Service;

pub(crate) const TESTS: &[Test] = &[
    (
        "connections::fifty_requests_on_one_connection_while_awake",
        fifty_requests_on_one_connection_while_awake,
    ),
    (
        "connections::one_stays_open_across_twenty_sleeps",
        one_stays_open_across_twenty_sleeps,
    ),
    (
        "connections::pipelined_requests_are_answered_in_order",
        pipelined_requests_are_answered_in_order,
    ),
    (
        "connections::http_1_0_is_answered_and_closed",
        http_1_0_is_answered_and_closed,
    ),
    (
        "connections::a_client_that_has_finished_sending_is_answered",
        a_client_that_has_finished_sending_is_answered,
    ),
    (
        "connections::a_request_in_pieces_is_one_request",
        a_request_in_pieces_is_one_request,
    ),
    (
        "connections::half_a_request_keeps_nothing_awake",
        half_a_request_keeps_nothing_awake,
    ),
    ("connections::curl_works", curl_works),
];

fn fifty_requests_on_one_connection_while_awake() -> Result<()> {
    let service = Service::start(|config| config.cooldown_ms = 3_000)?;
    let mut client = service.client()?;
    for count in 1..=50 {
        ensure!(client.get("/count")?.number()? == count);
    }
    ensure!(service.status().restores == 1, "{:?}", service.status());
    service.stop()?;
    Ok(())
}

fn one_stays_open_across_twenty_sleeps() -> Result<()> {
    let service = Service::start(|config| config.cooldown_ms = 1)?;
    let mut client = service.client()?;
    for count in 1..=20 {
        service.asleep()?;
        ensure!(client.get("/count")?.number()? == count);
    }
    let status = service.asleep()?;
    ensure!((status.restores, status.parks) == (20, 20), "{status:?}");
    service.stop()?;
    Ok(())
}

fn pipelined_requests_are_answered_in_order() -> Result<()> {
    let service = Service::start(|config| config.cooldown_ms = 1)?;
    for round in 0..10 {
        service.asleep()?;
        let mut client = service.client()?;
        client.send(request("/count").repeat(100))?;
        for count in 1..=100 {
            ensure!(client.receive()?.number()? == round * 100 + count);
        }
    }
    service.stop()?;
    Ok(())
}

fn http_1_0_is_answered_and_closed() -> Result<()> {
    let service = Service::start(|config| config.cooldown_ms = 1)?;
    for count in 1..=20 {
        service.asleep()?;
        let mut client = service.client()?;
        client.send("GET /count HTTP/1.0\r\n\r\n")?;
        ensure!(client.receive()?.number()? == count);
        ensure!(client.is_closed());
    }
    service.stop()?;
    Ok(())
}

fn a_client_that_has_finished_sending_is_answered() -> Result<()> {
    let service = Service::start(|config| config.cooldown_ms = 1)?;
    for count in 1..=50 {
        service.asleep()?;
        let mut client = service.client()?;
        client.send(request("/count"))?;
        client.finish()?;
        ensure!(client.receive()?.number()? == count);
        ensure!(client.is_closed(), "open after both sides have finished");
    }
    service.stop()?;
    Ok(())
}

fn a_request_in_pieces_is_one_request() -> Result<()> {
    let service = Service::start(|config| config.cooldown_ms = 1)?;
    let mut client = service.client()?;
    for count in 1..=10 {
        service.asleep()?;
        for piece in request("/count").as_bytes().chunks(9) {
            client.send(piece)?;
            // Another exchange in between, so that the pieces travel one by one.
            service.get("/")?;
        }
        ensure!(client.receive()?.number()? == count);
    }
    service.stop()?;
    Ok(())
}

fn half_a_request_keeps_nothing_awake() -> Result<()> {
    let service = Service::start(|config| config.cooldown_ms = 5)?;
    let (head, body) = (
        "POST /count HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\n",
        "12345678",
    );
    let mut halves = Vec::new();
    for half in [&head[..20], &[head, &body[..4]].concat()] {
        service.get("/")?;
        let mut client = service.client()?;
        client.send(half)?;
        // Another exchange, so that it has long been there.
        service.get("/")?;
        service.asleep()?;
        halves.push((client, [head, body].concat()[half.len()..].to_owned()));
    }
    for (mut client, rest) in halves {
        client.send(rest)?;
        ensure!(client.receive()?.status == 200);
    }
    // A guest that answers before it has all of a request, as this one does here, is at work on it.
    let mut client = service.client()?;
    client.send([&head.replace("/count", "/echo"), &body[..4]].concat())?;
    let status = service.wait("awake", |status| status.activity == Activity::Awake)?;
    client.send(&body[4..])?;
    ensure!(client.receive()?.text() == body);
    service.wait("asleep", |now| now.parks > status.parks)?;
    service.stop()?;
    Ok(())
}

fn curl_works() -> Result<()> {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("curl is not installed");
        return Ok(());
    }
    let service = Service::start(|config| config.cooldown_ms = 1)?;
    let url = format!("http://{}/count", service.addr());
    for count in 1..=5 {
        service.asleep()?;
        let output = Command::new("curl")
            .args(["-s", "--fail", "--max-time", "20", &url])
            .output()?;
        ensure!(output.status.success(), "{output:?}");
        ensure!(
            String::from_utf8(output.stdout)
                .context("curl printed no text")?
                .trim()
                == count.to_string()
        );
    }
    service.stop()?;
    Ok(())
}
