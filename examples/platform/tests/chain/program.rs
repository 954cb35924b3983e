//! The program: how it ends, and what it says when it cannot begin.

use std::net::TcpListener;

use anyhow::{Result, ensure};

use crate::Test;
use crate::client::{Client, get, request};
use crate::kernel::{self, Then};
use crate::process::{Ended, PROGRAM, Process, program, run};

pub(crate) const TESTS: &[Test] = &[
    (
        "program::sigterm_lets_requests_finish",
        sigterm_lets_requests_finish,
    ),
    ("program::sigint_ends_it_too", sigint_ends_it_too),
    ("program::sighup_ends_it_too", sighup_ends_it_too),
    (
        "program::a_guest_goes_on_after_the_process_was_stopped",
        a_guest_goes_on_after_the_process_was_stopped,
    ),
    (
        "program::a_second_signal_ends_it_at_once",
        a_second_signal_ends_it_at_once,
    ),
    ("program::a_taken_port_is_named", a_taken_port_is_named),
    ("program::an_unknown_flag_is_named", an_unknown_flag_is_named),
    (
        "program::a_bad_configuration_is_named",
        a_bad_configuration_is_named,
    ),
    ("program::a_missing_kernel_is_named", a_missing_kernel_is_named),
    (
        "program::what_is_no_kernel_is_named_with_what_is_wrong",
        what_is_no_kernel_is_named_with_what_is_wrong,
    ),
    (
        "program::an_address_may_be_a_name_and_what_is_none_gets_an_example",
        an_address_may_be_a_name_and_what_is_none_gets_an_example,
    ),
];

fn sigterm_lets_requests_finish() -> Result<()> {
    let (process, addr) = Process::serve(&["--cooldown-ms", "3000"])?;
    let mut client = Client::connect(addr)?;
    client.get("/count")?;
    let mut idle = Client::connect(addr)?;
    idle.get("/count")?;
    client.send(request("/burn?ms=300"))?;
    process.signal("TERM")?;
    ensure!(client.receive()?.text() == "burned 300 ms\n");
    let ended = process.end()?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(
        ended.stdout.contains("draining") && ended.stdout.contains("0 cut off"),
        "{ended:?}"
    );
    ensure!(idle.is_closed() && Client::connect(addr).is_err());
    Ok(())
}

fn a_guest_goes_on_after_the_process_was_stopped() -> Result<()> {
    let (process, addr) = Process::serve(&["--cooldown-ms", "3000"])?;
    let mut client = Client::connect(addr)?;
    client.get("/count")?;
    for _ in 0..5 {
        client.send(request("/burn?ms=30"))?;
        // Interrupts KVM_RUN on every thread, without anybody having asked the vCPUs to come back.
        process.signal("STOP")?;
        process.signal("CONT")?;
        ensure!(client.receive()?.text() == "burned 30 ms\n");
    }
    process.terminate()?;
    Ok(())
}

fn sighup_ends_it_too() -> Result<()> {
    let (process, addr) = Process::serve(&[])?;
    ensure!(get(addr, "/count")?.number()? == 1);
    process.signal("HUP")?;
    let ended = process.end()?;
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(())
}

fn sigint_ends_it_too() -> Result<()> {
    let (process, addr) = Process::serve(&[])?;
    ensure!(get(addr, "/count")?.number()? == 1);
    process.signal("INT")?;
    let ended = process.end()?;
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(())
}

fn a_second_signal_ends_it_at_once() -> Result<()> {
    let (mut process, addr) = Process::serve(&["--cooldown-ms", "3000"])?;
    let mut client = Client::connect(addr)?;
    client.get("/count")?;
    client.send(request("/burn?ms=9000"))?;
    process.signal("TERM")?;
    process.line("draining")?;
    let begun = std::time::Instant::now();
    process.signal("TERM")?;
    let ended = process.end()?;
    ensure!(
        ended.code == Some(1) && ended.stderr.contains("second signal"),
        "{ended:?}"
    );
    ensure!(begun.elapsed().as_secs() < 8, "it took {:?}", begun.elapsed());
    Ok(())
}

/// It ended with code 1 (2 for what clap refuses) and one line of error that has all of `parts`.
fn says(ended: &Ended, code: i32, parts: &[&str]) -> Result<()> {
    ensure!(ended.code == Some(code), "{ended:?}");
    ensure!(ended.stderr.starts_with("error: "), "{ended:?}");
    for part in parts {
        let times = ended.stderr.matches(part).count();
        ensure!(times == 1, "{part:?} is {times} times in {:?}", ended.stderr);
    }
    Ok(())
}

fn a_taken_port_is_named() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let addr = taken.local_addr()?.to_string();
    says(
        &run(&["serve", "--listen", &addr])?,
        1,
        &["listen on", &addr, "in use"],
    )
}

fn an_unknown_flag_is_named() -> Result<()> {
    says(
        &run(&["serve", "--cooldwon-ms", "5"])?,
        2,
        &["'--cooldwon-ms'", "similar argument exists: '--cooldown-ms'"],
    )
}

fn a_bad_configuration_is_named() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("platform.toml");
    let path = path.to_str().expect("a temporary path is text");
    let missing = run(&["serve", "--config", path])?;
    says(&missing, 1, &["read configuration", path, "No such file"])?;
    for (text, parts) in [
        (
            "cooldown_ms = 5\nshels = 3\n",
            ["line 2", "unknown field `shels`"],
        ),
        (
            "cooldown_ms = \"soon\"\n",
            ["line 1", "invalid type: string \"soon\""],
        ),
        (
            "cooldown_ms = 0\nshells = 5000\n",
            ["cooldown_ms is 0", "shells is 5000"],
        ),
    ] {
        std::fs::write(path, text)?;
        says(&run(&["serve", "--config", path])?, 1, &parts)?;
    }
    Ok(())
}

fn a_missing_kernel_is_named() -> Result<()> {
    says(
        &run(&["serve", "--listen", "127.0.0.1:0", "--kernel", "/nowhere/vmlinux"])?,
        1,
        &["/nowhere/vmlinux", "No such file"],
    )
}

fn what_is_no_kernel_is_named_with_what_is_wrong() -> Result<()> {
    let image = std::fs::read(PROGRAM)?;
    let files = [
        (&b""[..], "is empty"),
        (b"#!/bin/sh\n", "not an ELF file"),
        (&image, "linked dynamically"),
        (&guest::ELF[..3_000], "cut off"),
    ];
    for (bytes, problem) in files {
        let (_dir, path) = kernel::file(bytes)?;
        let path = path.to_str().expect("a temporary path is text");
        let ended = run(&["serve", "--listen", "127.0.0.1:0", "--kernel", path])?;
        says(&ended, 1, &[path, problem, "docs/guest-abi.md"])?;
    }
    let dir = tempfile::tempdir()?;
    let path = dir.path().to_str().expect("a temporary path is text");
    let ended = run(&["serve", "--listen", "127.0.0.1:0", "--kernel", path])?;
    says(&ended, 1, &[path, "directory", "docs/guest-abi.md"])?;
    // What only the loader or the guest itself finds is told with the file too.
    let (_dir, path) = kernel::printing("giving up\n", Then::Reset)?;
    let path = path.to_str().expect("a temporary path is text");
    let ended = run(&["serve", "--listen", "127.0.0.1:0", "--kernel", path])?;
    says(&ended, 1, &[path, "did not say that it serves", "giving up"])
}

fn an_address_may_be_a_name_and_what_is_none_gets_an_example() -> Result<()> {
    for wrong in ["8080", ":8080"] {
        let ended = run(&["serve", "--listen", wrong])?;
        says(&ended, 2, &["--listen", "for example 127.0.0.1:8080"])?;
    }
    let mut process = Process::spawn(program(&["serve", "--listen", "localhost:0"]))?;
    process.line("serving on http://127.0.0.1:")?;
    ensure!(process.terminate()?.code == Some(0));
    Ok(())
}
