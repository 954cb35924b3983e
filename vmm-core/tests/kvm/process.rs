//! What this process uses: threads, descriptors, memory.

use std::fs;

use crate::common::eventually;

/// Threads that a VM or a pool has.
const NAMES: [&str; 3] = ["vcpu0", "vmio", "shells"];

/// Threads of VMs and pools that live, by the names they were given.
pub(crate) fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    // A thread may end while we look.
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| NAMES.contains(&name.trim_end())).count()
}

/// Waits until `count` threads are left: a joined thread is on the kernel's list for a moment longer.
pub(crate) fn wait_threads(count: usize) {
    eventually("threads have ended", || threads() == count);
}

/// Open descriptors, the one that looks included.
pub(crate) fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Mappings of this process.
pub(crate) fn mappings() -> usize {
    fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// Resident memory in bytes.
pub(crate) fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib << 10
}

/// Private pages, in bytes, of the mapping that `address` is in.
pub(crate) fn private_bytes(address: u64) -> u64 {
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut inside = false;
    for line in smaps.lines() {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        if let Some((start, end)) = range {
            let number = |text| u64::from_str_radix(text, 16);
            if let (Ok(start), Ok(end)) = (number(start), number(end)) {
                inside = (start..end).contains(&address);
            }
        } else if let Some(kib) = line.strip_prefix("Private_Dirty:").filter(|_| inside) {
            return kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10;
        }
    }
    panic!("no mapping at {address:#x}");
}
