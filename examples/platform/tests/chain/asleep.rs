//! What an instance costs while it sleeps, seen from outside the process.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::Test;
use crate::process::Process;

pub(crate) const TESTS: &[Test] = &[
    (
        "asleep::no_vcpu_runs_and_no_guest_memory_is_held",
        no_vcpu_runs_and_no_guest_memory_is_held,
    ),
    (
        "asleep::open_connections_do_not_keep_it_awake",
        open_connections_do_not_keep_it_awake,
    ),
];

const MEMORY_MIB: u64 = 32;
pub(crate) const SHELLS: usize = 2;

fn no_vcpu_runs_and_no_guest_memory_is_held() -> Result<()> {
    let (shells, memory_mib) = (SHELLS.to_string(), MEMORY_MIB.to_string());
    let (mut process, addr) = Process::serve(&[
        "--cooldown-ms",
        "50",
        "--shells",
        &shells,
        "--memory-mib",
        &memory_mib,
    ])?;
    process.get_and_sleep(addr, "/touch?mib=8")?;
    process.get_and_sleep(addr, "/count")?;
    // A used VM ends and a new shell is made beside the sleep: wait for nothing but the shells.
    let vcpus = settled(&mut process)?;
    let before = vcpus.iter().map(|thread| thread.cpu_ns).collect::<Vec<_>>();
    process.silence(Duration::from_millis(500))?;
    let after = vcpu_threads(process.id())?;
    ensure!(
        after.len() == SHELLS,
        "{after:?} are more than those of {SHELLS} shells"
    );
    ensure!(
        after
            .iter()
            .map(|thread| thread.cpu_ns)
            .eq(before.iter().copied()),
        "vCPU threads went from {before:?} to {after:?}"
    );

    let mappings = guest_resident_kib(process.id())?;
    let resident_kib: u64 = mappings.values().sum();
    eprintln!("guest memory mapped and resident while asleep: {resident_kib} KiB in {SHELLS} shells");
    // Shells have run a stub, and have some pages touched ahead for whoever wakes in them. What the guest has written was
    // 8 MiB.
    ensure!(
        resident_kib <= 1024 * SHELLS as u64,
        "{resident_kib} KiB: {mappings:#?}"
    );
    ensure!(process.terminate()?.code == Some(0));
    Ok(())
}

fn open_connections_do_not_keep_it_awake() -> Result<()> {
    let (mut process, addr) = Process::serve(&["--cooldown-ms", "5"])?;
    let mut clients = (0..20)
        .map(|_| crate::client::Client::connect(addr))
        .collect::<Result<Vec<_>>>()?;
    for client in &mut clients {
        client.get("/count")?;
    }
    settled(&mut process)?;
    process.silence(Duration::from_millis(50))?;
    for (client, count) in clients.iter_mut().zip(21..) {
        ensure!(client.get("/count")?.number()? == count);
    }
    ensure!(process.terminate()?.code == Some(0));
    Ok(())
}

#[derive(Debug)]
pub(crate) struct Thread {
    pub(crate) cpu_ns: u64,
}

/// Waits until as many vCPU threads are left as there are shells, and none of them has anything to do.
pub(crate) fn settled(process: &mut Process) -> Result<Vec<Thread>> {
    let mut last = Vec::new();
    for _ in 0..100 {
        let threads = vcpu_threads(process.id())?;
        let times: Vec<_> = threads.iter().map(|thread| thread.cpu_ns).collect();
        if threads.len() == SHELLS && times == last {
            return Ok(threads);
        }
        last = times;
        // Whatever it still says of falling asleep is not of interest.
        let _ = process.silence(Duration::from_millis(20));
    }
    anyhow::bail!("the vCPU threads do not come to rest: {last:?}")
}

/// The vCPU threads of a process in the order of their numbers.
fn vcpu_threads(pid: u32) -> Result<Vec<Thread>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = entry?.path();
        // A thread may end between the two looks.
        let (Ok(name), Ok(times)) = (
            fs::read_to_string(path.join("comm")),
            fs::read_to_string(path.join("schedstat")),
        ) else {
            continue;
        };
        if name.trim() == "vcpu0" {
            let cpu_ns = times.split(' ').next().and_then(|ns| ns.parse().ok());
            threads.push((
                path,
                Thread {
                    cpu_ns: cpu_ns.context("schedstat begins with a time")?,
                },
            ));
        }
    }
    threads.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(threads.into_iter().map(|(_, thread)| thread).collect())
}

/// Writable mappings that are as large as a guest's memory, and what of each is resident, in KiB. The kernel joins to them
/// what the process has beside them: as much as a mapping is too large is not counted.
fn guest_resident_kib(pid: u32) -> Result<BTreeMap<String, u64>> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let (mut mapping, mut joined, mut resident) = (None, None, BTreeMap::new());
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some("Size:"), Some(kib)) => joined = kib.parse::<u64>()?.checked_sub(MEMORY_MIB << 10),
            (Some("Pss:"), Some(kib)) => {
                if let (Some(mapping), Some(joined)) = (mapping.take(), joined) {
                    resident.insert(mapping, kib.parse::<u64>()?.saturating_sub(joined));
                }
            }
            (Some(range), Some(access)) if range.contains('-') => {
                mapping = access.starts_with("rw").then(|| line.to_owned());
            }
            _ => {}
        }
    }
    Ok(resident)
}
