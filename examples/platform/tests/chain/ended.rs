//! What a host does with instances that have ended.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use platform::{InstanceHost, MicroVmHost, MicroVmOptions, Verdict};
use scheduler::InstanceId;
use vmm_core::{Hypervisor, UserNetConfig, VmConfig};

use crate::Test;
use crate::client::TIMEOUT;

pub(crate) const TESTS: &[Test] = &[
    (
        "ended::a_wedged_instance_is_out_at_once_and_put_aside_later",
        a_wedged_instance_is_out_at_once_and_put_aside_later,
    ),
    (
        "ended::of_a_wedged_instance_nothing_is_saved_without_a_place_for_it",
        of_a_wedged_instance_nothing_is_saved_without_a_place_for_it,
    ),
    (
        "ended::what_an_earlier_run_has_kept_stays_until_something_goes_on_from_it",
        what_an_earlier_run_has_kept_stays_until_something_goes_on_from_it,
    ),
    (
        "ended::snapshots_that_do_not_answer_do_not_pile_up",
        snapshots_that_do_not_answer_do_not_pile_up,
    ),
];

const PORT: u16 = 80;

fn open(dir: &Path, keep: bool) -> Result<MicroVmHost> {
    let net = UserNetConfig::default().spare(PORT, 1);
    let options = MicroVmOptions {
        vm: VmConfig::default().memory_bytes(32 << 20).net(Some(net)),
        kernel: guest::ELF.into(),
        port: PORT,
        shells: 1,
        boot_timeout: TIMEOUT,
        dir: dir.to_owned(),
        keep,
    };
    Ok(MicroVmHost::new(Arc::new(Hypervisor::open()?), options)?)
}

/// The files in `dir` whose names begin with `stem`, in order.
fn files(dir: &Path, stem: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(stem) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn a_wedged_instance_is_out_at_once_and_put_aside_later() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let host = open(dir.path(), true)?;
    let wedged = host.restore(InstanceId(1))?;
    host.give_up(InstanceId(1), Verdict::Wedged);
    ensure!(
        files(dir.path(), "instance")?.is_empty(),
        "it was written at once"
    );
    // The next one begins before that is done.
    let next = host.restore(InstanceId(2))?;
    host.put_aside();
    ensure!(files(dir.path(), "instance")? == ["instance.unused-1"]);
    host.put_aside();
    ensure!(files(dir.path(), "instance")? == ["instance.unused-1"]);
    // What was not put aside when it ends is then.
    host.give_up(InstanceId(2), Verdict::Wedged);
    ensure!(host.shut_down()? == 0);
    ensure!(files(dir.path(), "instance")? == ["instance.unused-1", "instance.unused-2"]);
    drop((wedged, next));
    Ok(())
}

fn of_a_wedged_instance_nothing_is_saved_without_a_place_for_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let host = open(dir.path(), false)?;
    let _wedged = host.restore(InstanceId(1))?;
    host.give_up(InstanceId(1), Verdict::Wedged);
    host.put_aside();
    ensure!(files(dir.path(), "instance")?.is_empty());
    Ok(())
}

fn what_an_earlier_run_has_kept_stays_until_something_goes_on_from_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let kept = open(dir.path(), true)?;
    kept.restore(InstanceId(1))?;
    ensure!(kept.shut_down()? == 1);
    let file = fs::read(dir.path().join("instance.snapshot"))?;

    // One that lacked something and was ended before it had taken anything, and one that was booted then.
    let host = open(dir.path(), true)?;
    host.stop(InstanceId(1));
    host.give_up(InstanceId(1), Verdict::NeverAnswered { in_a_row: 1 });
    ensure!(files(dir.path(), "instance")? == ["instance.snapshot"]);
    host.boot(InstanceId(2))?;
    ensure!(host.shut_down()? == 1);
    // Both are there.
    ensure!(files(dir.path(), "instance")? == ["instance.snapshot", "instance.unused-1"]);
    ensure!(fs::read(dir.path().join("instance.unused-1"))? == file);

    let host = open(dir.path(), true)?;
    host.restore(InstanceId(1))?;
    host.stop(InstanceId(1));
    ensure!(files(dir.path(), "instance")? == ["instance.unused-1", "instance.unused-2"]);
    Ok(())
}

fn snapshots_that_do_not_answer_do_not_pile_up() -> Result<()> {
    for keep in [true, false] {
        let dir = tempfile::tempdir()?;
        let host = open(dir.path(), keep)?;
        let mut boots = 0;
        for in_a_row in 1..=20 {
            let instance = InstanceId(u64::from(in_a_row));
            if host.restore(instance).is_err() {
                boots += 1;
                host.boot(instance)?;
            }
            host.give_up(instance, Verdict::NeverAnswered { in_a_row });
        }
        // After the second, the fourth, the eighth and the sixteenth.
        ensure!(boots == 4, "{boots} boots");
        let aside = files(dir.path(), "template.unused")?.len();
        ensure!(aside == if keep { 4 } else { 0 }, "{aside} snapshots aside");
    }
    // However many there are already.
    let dir = tempfile::tempdir()?;
    let host = open(dir.path(), true)?;
    for number in 1..=16 {
        fs::write(dir.path().join(format!("template.unused-{number}")), "")?;
    }
    host.restore(InstanceId(1))?;
    host.give_up(InstanceId(1), Verdict::NeverAnswered { in_a_row: 2 });
    ensure!(files(dir.path(), "template")?.len() == 16);
    Ok(())
}
