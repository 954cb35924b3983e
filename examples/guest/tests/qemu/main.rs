//! The same image boots under QEMU's microvm machine and serves.

mod client;
mod conversation;
mod machine;

use anyhow::{Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};

use client::Client;
use conversation::{
    a_dying_guest_says_all_that_it_was_asked_for, expectations_are_met_or_refused, head_says_what_get_would,
    what_is_no_request_is_refused_at_once,
};
use machine::{Machine, QEMU};

type Test = (&'static str, fn() -> Result<()>);

fn main() {
    let runs = std::process::Command::new(QEMU).arg("--version").output().is_ok();
    if !runs {
        eprintln!("{QEMU} is not installed: these tests are ignored (Debian: apt install qemu-system-x86)");
    }
    let tests: [Test; 13] = [
        (
            "boots_by_pvh_and_tells_about_itself",
            boots_by_pvh_and_tells_about_itself,
        ),
        ("answers_every_route", answers_every_route),
        ("counts_on_one_connection", counts_on_one_connection),
        ("bodies_of_any_size_come_back", bodies_of_any_size_come_back),
        ("closes_when_asked_to", closes_when_asked_to),
        (
            "a_quiet_guest_halts_without_a_timer",
            a_quiet_guest_halts_without_a_timer,
        ),
        ("serves_256_connections_at_once", serves_256_connections_at_once),
        (
            "exit_stops_the_machine_after_the_reply",
            exit_stops_the_machine_after_the_reply,
        ),
        (
            "crash_stops_the_machine_without_a_reply",
            crash_stops_the_machine_without_a_reply,
        ),
        (
            "what_is_no_request_is_refused_at_once",
            what_is_no_request_is_refused_at_once,
        ),
        ("expectations_are_met_or_refused", expectations_are_met_or_refused),
        ("head_says_what_get_would", head_says_what_get_would),
        (
            "a_dying_guest_says_all_that_it_was_asked_for",
            a_dying_guest_says_all_that_it_was_asked_for,
        ),
    ];
    let trial = |(name, test): Test| {
        Trial::test(name, move || {
            test().map_err(|error| Failed::from(format!("{error:#}")))
        })
        .with_ignored_flag(!runs)
    };
    libtest_mimic::run(&Arguments::from_args(), tests.map(trial).into()).exit();
}

fn boots_by_pvh_and_tells_about_itself() -> Result<()> {
    let machine = Machine::boot()?;
    let info = Client::connect(machine.address)?.get("/info")?;
    ensure!(
        info.head.contains("Content-Type: application/json\r\n"),
        "{}",
        info.head
    );
    for part in [
        r#"{"entry":"pvh","boot_ns":{"kernel":0,"application":"#,
        r#""clock":"pit","generation":null"#,
    ] {
        ensure!(info.text().contains(part), "{part} is not in {}", info.text());
    }
    Ok(())
}

fn answers_every_route() -> Result<()> {
    let machine = Machine::boot()?;
    let mut client = Client::connect(machine.address)?;
    for (target, status, body) in [
        ("/echo?a=1&b", 200, "a=1&b"),
        ("/burn?ms=5", 200, "burned 5 ms\n"),
        ("/touch?mib=2", 200, "touched 2 MiB\n"),
        ("/touch?mib=64", 507, "507 Insufficient Storage\n"),
        ("/burn?ms=never", 400, "400 Bad Request\n"),
        ("/nothing", 404, "404 Not Found\n"),
    ] {
        let reply = client.get(target)?;
        ensure!(
            (reply.status, reply.text()) == (status, body),
            "{target}: {} {}",
            reply.status,
            reply.text()
        );
    }
    ensure!(client.get("/")?.text().starts_with("Hello"));
    client.send(b"DELETE /count HTTP/1.1\r\nHost: guest\r\n\r\n")?;
    let refused = client.receive()?;
    ensure!(
        refused.status == 405 && refused.head.contains("Allow: GET, POST\r\n"),
        "{}",
        refused.head
    );
    client.send(b"nonsense\r\n\r\n")?;
    ensure!(client.receive()?.status == 400);
    ensure!(client.is_closed(), "open after a request that was none");
    Ok(())
}

fn counts_on_one_connection() -> Result<()> {
    let machine = Machine::boot()?;
    let mut client = Client::connect(machine.address)?;
    for count in 1..=50 {
        ensure!(client.get("/count")?.text() == count.to_string());
    }
    let request = "GET /count HTTP/1.1\r\nHost: guest\r\n\r\n";
    client.send(request.repeat(100).as_bytes())?;
    for count in 51..=150 {
        ensure!(
            client.receive()?.text() == count.to_string(),
            "pipelined request {count}"
        );
    }
    Ok(())
}

fn bodies_of_any_size_come_back() -> Result<()> {
    let machine = Machine::boot()?;
    let mut client = Client::connect(machine.address)?;
    for len in [0, 1, 1_460, 4_096, 100_000] {
        let body: Vec<u8> = (0..=u8::MAX).cycle().take(len).collect();
        client.send(
            format!("POST /echo HTTP/1.1\r\nHost: guest\r\nContent-Length: {len}\r\n\r\n").as_bytes(),
        )?;
        client.send(&body)?;
        ensure!(client.receive()?.body == body, "{len} bytes");
    }
    let padding = "x".repeat(10_000);
    client.send(format!("GET /echo?hi HTTP/1.1\r\nHost: guest\r\nPadding: {padding}\r\n\r\n").as_bytes())?;
    ensure!(
        client.receive()?.text() == "hi",
        "a request longer than the receive buffer"
    );
    Ok(())
}

fn closes_when_asked_to() -> Result<()> {
    let machine = Machine::boot()?;
    for request in [
        "GET /count HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n",
        "GET /count HTTP/1.0\r\n\r\n",
    ] {
        for _ in 0..20 {
            let mut client = Client::connect(machine.address)?;
            client.send(request.as_bytes())?;
            let reply = client.receive()?;
            ensure!(reply.head.contains("Connection: close\r\n"), "{}", reply.head);
            ensure!(client.is_closed());
        }
    }
    ensure!(Client::connect(machine.address)?.get("/count")?.text() == "41");
    Ok(())
}

fn a_quiet_guest_halts_without_a_timer() -> Result<()> {
    let machine = Machine::boot()?;
    let mut client = Client::connect(machine.address)?;
    for _ in 0..2 {
        client.get("/count")?;
        // The client's acknowledgement ends the last timer; until it has come, one runs.
        machine.watch("info lapic", "initial_count = 0 ")?;
        machine.watch("info registers", "HLT=1")?;
    }
    Ok(())
}

fn serves_256_connections_at_once() -> Result<()> {
    const CLIENTS: u32 = 256;
    let machine = Machine::boot()?;
    let mut clients = Vec::new();
    for count in 1..=CLIENTS {
        // One after the other: QEMU's listening socket has no backlog to speak of.
        let mut client = Client::connect(machine.address)?;
        ensure!(client.get("/count")?.text() == count.to_string());
        clients.push(client);
    }
    for client in &mut clients {
        client.send(b"GET /count HTTP/1.1\r\nHost: guest\r\n\r\n")?;
    }
    let mut counts = Vec::new();
    for client in &mut clients {
        counts.push(client.receive()?.text().parse::<u32>()?);
    }
    counts.sort_unstable();
    ensure!(
        counts.into_iter().eq(CLIENTS + 1..=2 * CLIENTS),
        "each request is counted once"
    );
    Ok(())
}

fn exit_stops_the_machine_after_the_reply() -> Result<()> {
    let mut machine = Machine::boot()?;
    let mut client = Client::connect(machine.address)?;
    ensure!(client.get("/exit")?.text() == "bye\n");
    let status = machine.wait()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

fn crash_stops_the_machine_without_a_reply() -> Result<()> {
    let mut machine = Machine::boot()?;
    let mut client = Client::connect(machine.address)?;
    ensure!(client.get("/crash").is_err());
    let status = machine.wait()?;
    ensure!(status.success(), "{status}");
    Ok(())
}
