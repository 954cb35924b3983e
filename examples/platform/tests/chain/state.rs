//! State that outlives the program.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use platform::Activity;

use crate::Test;
use crate::client::{Client, get};
use crate::process::Process;
use crate::service::Service;

pub(crate) const TESTS: &[Test] = &[
    ("state::goes_on_after_a_restart", goes_on_after_a_restart),
    (
        "state::directories_in_the_place_of_files_are_put_aside",
        directories_in_the_place_of_files_are_put_aside,
    ),
    (
        "state::of_an_instance_that_was_awake_goes_on_too",
        of_an_instance_that_was_awake_goes_on_too,
    ),
    (
        "state::of_an_instance_that_is_being_parked_is_kept",
        of_an_instance_that_is_being_parked_is_kept,
    ),
    (
        "state::damaged_files_are_replaced_with_a_warning",
        damaged_files_are_replaced_with_a_warning,
    ),
    (
        "state::what_is_no_file_is_not_waited_for",
        what_is_no_file_is_not_waited_for,
    ),
    (
        "state::of_another_shape_is_not_used",
        of_another_shape_is_not_used,
    ),
    (
        "state::after_kill_the_last_kept_one_goes_on",
        after_kill_the_last_kept_one_goes_on,
    ),
    (
        "state::half_written_files_are_removed_at_the_next_start",
        half_written_files_are_removed_at_the_next_start,
    ),
    (
        "state::is_bound_to_a_vendor_but_not_to_a_model",
        is_bound_to_a_vendor_but_not_to_a_model,
    ),
    (
        "state::of_an_instance_that_died_is_put_aside",
        of_an_instance_that_died_is_put_aside,
    ),
    (
        "state::a_directory_in_use_is_refused",
        a_directory_in_use_is_refused,
    ),
    (
        "state::a_directory_that_cannot_be_made_is_named",
        a_directory_that_cannot_be_made_is_named,
    ),
];

/// `serve` with its state in `dir`.
fn serve(dir: &Path, arguments: &[&str]) -> Result<(Process, std::net::SocketAddr)> {
    let dir = dir.to_str().context("a temporary path is text")?;
    Process::serve(&[&["--state-dir", dir], arguments].concat())
}

/// Counts up to `count` and keeps that.
fn keep(dir: &Path, count: u64) -> Result<()> {
    let (mut process, addr) = serve(dir, &["--cooldown-ms", "1"])?;
    for _ in 1..=count {
        process.get_and_sleep(addr, "/count")?;
    }
    let ended = process.terminate()?;
    ensure!(
        ended.code == Some(0) && ended.stdout.contains("1 instance states kept"),
        "{ended:?}"
    );
    ensure!(ended.stderr.is_empty(), "{ended:?}");
    Ok(())
}

fn goes_on_after_a_restart() -> Result<()> {
    let dir = tempfile::tempdir()?;
    keep(dir.path(), 3)?;
    // A run without a request must not lose it.
    let (process, _) = serve(dir.path(), &[])?;
    ensure!(process.terminate()?.code == Some(0));
    let (mut process, addr) = serve(dir.path(), &["--cooldown-ms", "1"])?;
    for count in 4..=6 {
        ensure!(process.get_and_sleep(addr, "/count")?.number()? == count);
    }
    ensure!(process.terminate()?.code == Some(0));
    let (process, addr) = serve(dir.path(), &[])?;
    ensure!(get(addr, "/count")?.number()? == 7);
    ensure!(process.terminate()?.code == Some(0));
    Ok(())
}

fn of_an_instance_that_was_awake_goes_on_too() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for round in 0..3 {
        let (process, addr) = serve(dir.path(), &["--cooldown-ms", "3000"])?;
        let mut client = Client::connect(addr)?;
        for count in 1..=10 {
            ensure!(client.get("/count")?.number()? == round * 10 + count);
        }
        let ended = process.terminate()?;
        ensure!(
            ended.code == Some(0) && ended.stdout.contains("1 instance states kept"),
            "{ended:?}"
        );
        ensure!(client.is_closed());
    }
    Ok(())
}

fn of_an_instance_that_is_being_parked_is_kept() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let change = |config: &mut platform::Config| {
        config.state_dir = Some(dir.path().to_owned());
        config.cooldown_ms = 1;
    };
    for count in 1..=5 {
        let service = Service::start(change)?;
        ensure!(service.get("/count")?.number()? == count);
        // Much to save, so that there is time to come in between.
        service.get("/touch?mib=16")?;
        service.wait("parking", |status| status.activity == Activity::Parking)?;
        ensure!(service.stop()?.kept == 1);
    }
    Ok(())
}

fn damaged_files_are_replaced_with_a_warning() -> Result<()> {
    type Damage = fn(Vec<u8>) -> Vec<u8>;
    let damages: [(&str, Damage); 6] = [
        ("a bit in the header", |mut bytes| {
            bytes[20] ^= 0x10;
            bytes
        }),
        ("a bit in a page of memory", |mut bytes| {
            let text = b"Hello from a unikernel";
            let at = bytes.windows(text.len()).position(|window| window == text);
            bytes[at.expect("the guest's memory has its text")] ^= 0x10;
            bytes
        }),
        ("half of it", |bytes| bytes[..bytes.len() / 2].to_vec()),
        ("nothing in it", |_| Vec::new()),
        ("another file", |_| b"#!/bin/sh\necho hello\n".repeat(1_000)),
        ("the end cut off", |bytes| bytes[..bytes.len() - 1].to_vec()),
    ];
    let dir = tempfile::tempdir()?;
    let instance = instance_file(dir.path());
    for (what, damage) in damages {
        keep(dir.path(), 2)?;
        fs::write(&instance, damage(fs::read(&instance)?))?;
        let (process, addr) = serve(dir.path(), &["--cooldown-ms", "1"])?;
        let count = get(addr, "/count")?.number()?;
        let ended = process.terminate()?;
        ensure!(ended.code == Some(0), "{what}: {ended:?}");
        ensure!(count == 1, "{what}: went on with {count}");
        ensure!(
            ended.stderr.contains("WARN") && ended.stderr.contains("instance.snapshot"),
            "{what}: {ended:?}"
        );
        fs::remove_file(&instance)?;
        fs::write(dir.path().join("template.snapshot"), b"neither")?;
    }
    keep(dir.path(), 1)
}

fn what_is_no_file_is_not_waited_for() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for name in ["instance.snapshot", "template.snapshot"] {
        let made = std::process::Command::new("mkfifo")
            .arg(dir.path().join(name))
            .status()?;
        ensure!(made.success(), "mkfifo {name}: {made}");
    }
    let (process, addr) = serve(dir.path(), &[])?;
    ensure!(get(addr, "/count")?.number()? == 1);
    let ended = process.terminate()?;
    ensure!(ended.stderr.contains("it is not a file"), "{ended:?}");
    ensure!(instance_file(dir.path()).is_file() && dir.path().join("instance.unused-1").exists());
    Ok(())
}

fn directories_in_the_place_of_files_are_put_aside() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for name in ["instance", "template"] {
        let path = dir.path().join(format!("{name}.snapshot"));
        fs::create_dir(&path)?;
        fs::write(path.join("file"), name)?;
    }
    let (process, addr) = serve(dir.path(), &[])?;
    ensure!(get(addr, "/count")?.number()? == 1);
    let ended = process.terminate()?;
    ensure!(ended.code == Some(0), "{ended:?}");
    for name in ["instance", "template"] {
        let aside = dir.path().join(format!("{name}.unused-1"));
        ensure!(fs::read_to_string(aside.join("file"))? == name, "{ended:?}");
        ensure!(dir.path().join(format!("{name}.snapshot")).is_file(), "{ended:?}");
    }
    Ok(())
}

fn of_another_shape_is_not_used() -> Result<()> {
    let dir = tempfile::tempdir()?;
    keep(dir.path(), 2)?;
    let (process, addr) = serve(dir.path(), &["--memory-mib", "48"])?;
    ensure!(get(addr, "/count")?.number()? == 1);
    let ended = process.terminate()?;
    ensure!(ended.stderr.contains("vm.memory_bytes"), "{ended:?}");
    Ok(())
}

fn after_kill_the_last_kept_one_goes_on() -> Result<()> {
    let dir = tempfile::tempdir()?;
    keep(dir.path(), 2)?;
    for _ in 0..2 {
        let (process, addr) = serve(dir.path(), &["--cooldown-ms", "1"])?;
        ensure!(get(addr, "/count")?.number()? == 3);
        process.signal("KILL")?;
        ensure!(process.end()?.code.is_none());
    }
    keep(dir.path(), 1)
}

fn half_written_files_are_removed_at_the_next_start() -> Result<()> {
    let dir = tempfile::tempdir()?;
    // Nothing is saved at the start that follows: the service's snapshot is there.
    keep(dir.path(), 2)?;
    let name = |of: &str| dir.path().join(format!(".snapshot-{of}-0.tmp"));
    fs::write(name("dead"), "half")?;
    let at_work = fs::File::create(name("living"))?;
    at_work.try_lock()?;
    let pipe = std::process::Command::new("mkfifo").arg(name("pipe")).status()?;
    ensure!(pipe.success(), "mkfifo: {pipe}");
    let (process, addr) = serve(dir.path(), &["--cooldown-ms", "3000"])?;
    ensure!(!name("dead").exists(), "the leftover is still there");
    ensure!(name("living").exists() && name("pipe").exists());
    ensure!(get(addr, "/count")?.number()? == 3);
    let ended = process.terminate()?;
    ensure!(ended.code == Some(0) && ended.stderr.is_empty(), "{ended:?}");
    Ok(())
}

fn is_bound_to_a_vendor_but_not_to_a_model() -> Result<()> {
    let dir = tempfile::tempdir()?;
    keep(dir.path(), 1)?;
    for name in ["template.snapshot", "instance.snapshot"] {
        let snapshot = snapshot::Snapshot::open(dir.path().join(name))?;
        let keys: Vec<_> = snapshot
            .header()
            .fingerprint
            .iter()
            .filter(|(key, _)| key.starts_with("cpu."))
            .collect();
        ensure!(matches!(keys[..], [("cpu.vendor", _)]), "{name}: {keys:?}");
    }
    Ok(())
}

fn of_an_instance_that_died_is_put_aside() -> Result<()> {
    let dir = tempfile::tempdir()?;
    keep(dir.path(), 2)?;
    for _ in 0..2 {
        let (process, addr) = serve(dir.path(), &[])?;
        get(addr, "/crash")?;
        ensure!(get(addr, "/count")?.number()? == 1);
        process.signal("KILL")?;
        process.end()?;
    }
    // It may be looked at, but nothing goes on from it.
    ensure!(!instance_file(dir.path()).exists() && dir.path().join("instance.unused-1").exists());
    ensure!(!dir.path().join("instance.unused-2").exists());
    Ok(())
}

fn a_directory_in_use_is_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (process, addr) = serve(dir.path(), &["--cooldown-ms", "1"])?;
    let path = dir.path().to_str().context("a temporary path is text")?;
    let second = crate::process::run(&["serve", "--listen", "127.0.0.1:0", "--state-dir", path])?;
    ensure!(second.code == Some(1), "{second:?}");
    ensure!(
        second.stderr.contains(path) && second.stderr.contains("in use"),
        "{second:?}"
    );
    ensure!(get(addr, "/count")?.number()? == 1);
    ensure!(process.terminate()?.code == Some(0));
    keep(dir.path(), 1)
}

fn a_directory_that_cannot_be_made_is_named() -> Result<()> {
    let ended = crate::process::run(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--state-dir",
        "/dev/null/state",
    ])?;
    ensure!(ended.code == Some(1), "{ended:?}");
    ensure!(
        ended.stderr.contains("/dev/null/state") && ended.stderr.contains("Not a directory"),
        "{ended:?}"
    );
    Ok(())
}

fn instance_file(dir: &Path) -> PathBuf {
    dir.join("instance.snapshot")
}
