//! HTTP as a strict or a strange client speaks it.

use anyhow::{Result, ensure};

use crate::client::Client;
use crate::machine::Machine;

pub(crate) fn what_is_no_request_is_refused_at_once() -> Result<()> {
    let machine = Machine::boot()?;
    let long = format!("GET / HTTP/1.1\r\nHost: guest\r\nX: {}", "x".repeat(20_000));
    // None of them is complete: who waits for the end waits for ever.
    for (start, status) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], 400),
        (b"\0", 400),
        (b"\n", 400),
        (b"GET / HTTP/1.1\n", 400),
        (b"GET / HTTP/1.1\r\nHost: guest\n", 400),
        (b"PRI * HTTP/2.0\r\n", 505),
        (long.as_bytes(), 431),
    ] {
        let mut client = Client::connect(machine.address)?;
        client.send(start)?;
        let reply = client.receive()?;
        ensure!(
            reply.status == status,
            "{}: {}",
            start.escape_ascii(),
            reply.status
        );
        ensure!(client.is_closed(), "open after {}", start.escape_ascii());
    }
    Ok(())
}

pub(crate) fn expectations_are_met_or_refused() -> Result<()> {
    let machine = Machine::boot()?;
    let expect = |target: &str| {
        let head = format!("POST {target} HTTP/1.1\r\nHost: guest\r\nExpect: 100-continue");
        format!("{head}\r\nContent-Length: 5\r\n\r\n")
    };
    let mut client = Client::connect(machine.address)?;
    for (target, body) in [("/echo", "hello"), ("/count", "1")] {
        client.send(expect(target).as_bytes())?;
        ensure!(client.line()? == "HTTP/1.1 100 Continue\r\n" && client.line()? == "\r\n");
        client.send(b"hello")?;
        let reply = client.receive()?;
        ensure!(reply.text() == body, "{target}: {}", reply.text());
    }
    client.send(expect("/nothing").as_bytes())?;
    let reply = client.receive()?;
    ensure!(
        reply.status == 404 && reply.head.contains("Connection: close\r\n"),
        "{}",
        reply.head
    );
    ensure!(client.is_closed(), "open although the body may come or not");
    Ok(())
}

pub(crate) fn head_says_what_get_would() -> Result<()> {
    let machine = Machine::boot()?;
    let mut client = Client::connect(machine.address)?;
    let got = client.get("/")?;
    client.send(b"HEAD / HTTP/1.1\r\nHost: guest\r\n\r\n")?;
    let head: Vec<_> = got.head.lines().map(|line| format!("{line}\r\n")).collect();
    for line in head {
        ensure!(client.line()? == line, "HEAD and GET differ");
    }
    client.send(b"HEAD /nothing HTTP/1.1\r\nHost: guest\r\n\r\nGET http://guest/echo?next HTTP/1.1\r\nHost: guest\r\n\r\n")?;
    while client.line()? != "\r\n" {}
    ensure!(client.receive()?.text() == "next", "a reply to HEAD has no body");
    Ok(())
}

pub(crate) fn a_dying_guest_says_all_that_it_was_asked_for() -> Result<()> {
    const COUNTS: usize = 200;
    let mut machine = Machine::boot()?;
    let mut client = Client::connect(machine.address)?;
    let count = "GET /count HTTP/1.1\r\nHost: guest\r\n\r\n";
    let exit = "GET /exit HTTP/1.1\r\nHost: guest\r\n\r\n";
    client.send([count.repeat(COUNTS).as_str(), exit, count].concat().as_bytes())?;
    for number in 1..=COUNTS {
        ensure!(client.receive()?.text() == number.to_string());
    }
    let last = client.receive()?;
    ensure!(
        last.text() == "bye\n" && last.head.contains("Connection: close\r\n"),
        "{}",
        last.head
    );
    ensure!(client.is_closed(), "the end of the answer is part of it");
    ensure!(machine.wait()?.success());
    Ok(())
}
