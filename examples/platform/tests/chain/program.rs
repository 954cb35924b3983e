//! The program: how it ends, and what it says when it cannot begin.

use std::net::TcpListener;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::Test;
use crate::client::{Client, get, request};
use crate::kernel::{self, Then};
use crate::process::{Ended, PROGRAM, Process, program, run};

pub(crate) const TESTS: &[Test] = &[
    (
        "program::sigterm_lets_requests_finish",
        sigterm_lets_requests_finish,
    ),
    (
        "program::a_signal_repeated_at_once_is_one_signal",
        a_signal_repeated_at_once_is_one_signal,
    ),
    (
        "program::sigusr1_explains_and_ends_nothing",
        sigusr1_explains_and_ends_nothing,
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
    (
        "program::errors_to_begin_with_come_before_a_word_of_booting",
        errors_to_begin_with_come_before_a_word_of_booting,
    ),
    (
        "program::a_stop_while_many_vms_are_made_ahead_is_prompt",
        a_stop_while_many_vms_are_made_ahead_is_prompt,
    ),
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

fn a_signal_repeated_at_once_is_one_signal() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let state_dir = dir.path().to_str().expect("a temporary path is text");
    let (process, addr) = Process::serve(&["--cooldown-ms", "3000", "--state-dir", state_dir])?;
    let mut client = Client::connect(addr)?;
    client.get("/count")?;
    client.send(request("/burn?ms=500"))?;
    // As `timeout` does: to the process, then to its group.
    process.signal("TERM")?;
    process.signal("TERM")?;
    ensure!(client.receive()?.text() == "burned 500 ms\n");
    let ended = process.end()?;
    ensure!(
        ended.code == Some(0) && ended.stdout.contains("1 instance states kept"),
        "{ended:?}"
    );
    ensure!(dir.path().join("instance.snapshot").exists());
    Ok(())
}

fn sigusr1_explains_and_ends_nothing() -> Result<()> {
    // What it explains is among the lines that are waited for.
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>&1", PROGRAM]);
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env_remove("RUST_LOG");
    let mut process = Process::spawn(command)?;
    process.line("booting the guest")?;
    process.signal("USR1")?;
    // It may be explained before the boot ends or after.
    let (mut serving, mut is_explained) = (None, false);
    while serving.is_none() || !is_explained {
        let line = process.line("")?;
        is_explained |= line.starts_with("why not: service 1: no start: ");
        serving = serving.or(Some(line).filter(|line| line.starts_with("serving on http://")));
    }
    let addr = serving
        .iter()
        .flat_map(|line| line.split([' ', '/']))
        .find_map(|word| word.parse().ok());
    let addr = addr.with_context(|| format!("no address in {serving:?}"))?;
    process.get_and_sleep(addr, "/count")?;
    process.signal("USR1")?;
    process.line("why: service 1: instance 1 parked")?;
    process.line("why not: service 1: no start: ")?;
    let mut client = Client::connect(addr)?;
    client.get("/count")?;
    client.send(request("/burn?ms=300"))?;
    process.signal("TERM")?;
    process.line("draining")?;
    process.signal("USR1")?;
    ensure!(client.receive()?.text() == "burned 300 ms\n");
    let ended = process.end()?;
    ensure!(ended.code == Some(0), "{ended:?}");
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
    // One at once would count as the same again.
    process.silence(std::time::Duration::from_millis(1_100))?;
    let begun = std::time::Instant::now();
    process.signal("TERM")?;
    let ended = process.end()?;
    ensure!(
        ended.code == Some(1) && ended.stderr.contains("second signal"),
        "{ended:?}"
    );
    ensure!(begun.elapsed().as_secs() < 7, "it took {:?}", begun.elapsed());
    Ok(())
}

/// What can be checked is checked before it says that it boots.
fn errors_to_begin_with_come_before_a_word_of_booting() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let dir = tempfile::tempdir()?;
    let text = |path: &std::path::Path| path.to_str().expect("a temporary path is text").to_owned();
    let file = dir.path().join("file");
    std::fs::write(&file, "x")?;
    let state_dir = text(&dir.path().join("state"));
    let (owner, _) = Process::serve(&["--state-dir", &state_dir])?;
    for (flag, value, parts) in [
        ("--kernel", "/nowhere/vmlinux", ["read kernel", "No such file"]),
        (
            "--listen",
            &taken.local_addr()?.to_string(),
            ["listen on", "in use"],
        ),
        ("--state-dir", &text(&file), ["create state directory", "exists"]),
        (
            "--state-dir",
            &state_dir,
            ["in use by another platform", "name another --state-dir\n"],
        ),
    ] {
        let listen: &[&str] = match flag {
            "--listen" => &[],
            _ => &["--listen", "127.0.0.1:0"],
        };
        let ended = run(&[&["serve", flag, value], listen].concat())?;
        says(&ended, 1, &parts)?;
        ensure!(ended.stdout.is_empty(), "{ended:?}");
    }
    let mut command = program(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("TMPDIR", "/nope");
    let ended = Process::spawn(command)?.end()?;
    says(&ended, 1, &["/nope", "TMPDIR", "--state-dir", "No such file"])?;
    ensure!(ended.stdout.is_empty(), "{ended:?}");
    owner.terminate()?;
    Ok(())
}

fn a_stop_while_many_vms_are_made_ahead_is_prompt() -> Result<()> {
    let mut process = Process::spawn(program(&["serve", "--listen", "127.0.0.1:0", "--shells", "1000"]))?;
    process.line("making VMs ahead: ")?;
    let begun = std::time::Instant::now();
    let ended = process.terminate()?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(begun.elapsed().as_secs() < 8, "it took {:?}", begun.elapsed());
    Ok(())
}

/// It ended with code 1 (2 for what it was told wrong) and one line of error that has all of `parts`.
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
    says(&missing, 2, &["read configuration", path, "No such file"])?;
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
        says(&run(&["serve", "--config", path])?, 2, &parts)?;
    }
    for wrong in ["-1", "0", "1.5", "soon", "86400001"] {
        let ended = run(&["serve", "--cooldown-ms", wrong])?;
        let value = format!("invalid value '{wrong}' for '--cooldown-ms <MS>'");
        says(&ended, 2, &[&value, "must be a whole number from 1 to 86400000"])?;
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
