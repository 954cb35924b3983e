//! Guests that run but do not answer.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use snapshot::{Overwrite, RamImage, SaveOptions, SectionKind, Snapshot};

use crate::Test;
use crate::client::{get, request};
use crate::kernel::{self, Wedged};
use crate::process::Process;
use crate::service::Service;

pub(crate) const TESTS: &[Test] = &[
    (
        "wedged::a_guest_that_stops_answering_is_replaced_and_its_state_put_aside",
        a_guest_that_stops_answering_is_replaced_and_its_state_put_aside,
    ),
    (
        "wedged::a_snapshot_that_never_answers_is_put_aside_and_the_guest_booted",
        a_snapshot_that_never_answers_is_put_aside_and_the_guest_booted,
    ),
    (
        "wedged::a_state_that_cannot_be_restored_is_put_aside",
        a_state_that_cannot_be_restored_is_put_aside,
    ),
];

fn a_guest_that_stops_answering_is_replaced_and_its_state_put_aside() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let change = |config: &mut platform::Config| {
        config.state_dir = Some(dir.path().to_owned());
        config.cooldown_ms = 3_000;
        config.answer_ms = 100;
    };
    let service = Service::start(change)?;
    ensure!(service.get("/count")?.number()? == 1);
    // It does one thing after another, and this one takes longer than the test. Some may overtake.
    let mut first = service.client()?;
    first.send(request("/burn?ms=60000"))?;
    // The last of these may be held and be the first that the next one answers.
    let mut answered = 0;
    for _ in 0..30 {
        let reply = service.get("/count")?;
        ensure!(matches!(reply.status, 200 | 502 | 504), "{reply:?}");
        answered = u64::from(reply.status == 200 && reply.number()? == 1);
        if answered > 0 || service.status().deaths > 0 {
            break;
        }
    }
    let reply = first.receive()?;
    ensure!(matches!(reply.status, 502 | 504), "{reply:?}");
    service.wait("given up", |status| status.deaths == 1)?;
    ensure!(
        service.get("/count")?.number()? == answered + 1,
        "the next one does not begin with the service's snapshot"
    );
    ensure!(service.stop()?.kept == 1);
    // What it knew is there as a whole state, which a platform takes for that of an earlier run.
    let (aside, instance) = (
        dir.path().join("instance.unused-1"),
        dir.path().join("instance.snapshot"),
    );
    std::fs::rename(&aside, &instance)?;
    let service = Service::start(change)?;
    ensure!(instance.exists() && !aside.exists(), "it is of no use");
    service.stop()?;
    Ok(())
}

fn a_snapshot_that_never_answers_is_put_aside_and_the_guest_booted() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (_kernel, path) = kernel::never_answering(Wedged::Halted)?;
    let config = dir.path().join("platform.toml");
    std::fs::write(&config, "answer_ms = 100\ncooldown_ms = 20\n")?;
    let state = dir.path().join("state");
    let text = |path: &Path| path.to_str().expect("a temporary path is text").to_owned();
    let (process, addr) = Process::serve(&[
        "--config",
        &text(&config),
        "--kernel",
        &text(&path),
        "--state-dir",
        &text(&state),
    ])?;
    let aside = state.join("template.unused-1");
    let mut requests = 0;
    while !aside.exists() {
        let reply = get(addr, "/")?;
        ensure!((500..600).contains(&reply.status), "{reply:?}");
        requests += 1;
        ensure!(requests < 30, "after {requests} requests nothing is put aside");
    }
    // Booted now, which makes a new snapshot.
    get(addr, "/")?;
    ensure!(state.join("template.snapshot").exists(), "no new snapshot");
    let ended = process.terminate()?;
    for part in [
        "left 3 requests in a row unanswered",
        "the last one for 1",
        "template.unused-1",
    ] {
        ensure!(ended.stderr.contains(part), "no {part:?} in {ended:?}");
    }
    Ok(())
}

fn a_state_that_cannot_be_restored_is_put_aside() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let state_dir = dir.path().to_str().context("a temporary path is text")?;
    let arguments = ["--state-dir", state_dir, "--cooldown-ms", "1"];
    let (mut process, addr) = Process::serve(&arguments)?;
    for count in 1..=3 {
        ensure!(process.get_and_sleep(addr, "/count")?.number()? == count);
    }
    ensure!(process.terminate()?.code == Some(0));
    let instance = dir.path().join("instance.snapshot");
    name_an_unknown_register(&instance)?;
    let damaged = std::fs::read(&instance)?;

    let (process, addr) = Process::serve(&arguments)?;
    ensure!(get(addr, "/count")?.number()? == 1);
    let ended = process.terminate()?;
    ensure!(ended.code == Some(0), "{ended:?}");
    for part in ["0xdeadbeef", "put aside", "instance.unused-1"] {
        ensure!(ended.stderr.contains(part), "no {part:?} in {ended:?}");
    }
    // The new instance was kept beside it.
    ensure!(std::fs::read(dir.path().join("instance.unused-1"))? == damaged);
    ensure!(instance.exists() && std::fs::read(&instance)? != damaged);
    Ok(())
}

/// Makes a saved state one that is whole, and of this host, but that KVM does not take (docs/vm-state.md, "vCPU").
fn name_an_unknown_register(path: &Path) -> Result<()> {
    const VCPU: SectionKind = SectionKind(2);
    const MSR_ENTRY_BYTES: usize = 16;
    let snapshot = Snapshot::open(path)?;
    let mut sections = snapshot.sections().to_vec();
    for section in sections.iter_mut().filter(|section| section.kind == VCPU) {
        let last = section.bytes.len() - MSR_ENTRY_BYTES;
        section.bytes[last..last + 4].copy_from_slice(&0xdead_beef_u32.to_le_bytes());
    }
    let header = snapshot.header();
    let options = SaveOptions::new(header.id, header.created_unix_ns)
        .fingerprint(header.fingerprint.clone())
        .overwrite(Overwrite::Replace);
    RamImage::from_snapshot(&snapshot)?.persist_with(path, &sections, options)?;
    Ok(())
}
