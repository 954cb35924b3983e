//! What a request costs without snapshots: boot, then answer.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use vmm_core::{Hypervisor, Vm, VmConfig};

use crate::demo::client::read_some;
use crate::micro_vm::wait_until_serving;
use crate::phases::Durations;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Boots the guest `times` times; each time from the first step of making the VM to the first byte of an answer.
pub(super) fn measure(times: usize, memory_bytes: u64) -> anyhow::Result<Durations> {
    let hypervisor = Hypervisor::open()?;
    let config = VmConfig::default().memory_bytes(memory_bytes);
    let mut durations = Durations::default();
    for _ in 0..times {
        let begun = Instant::now();
        let vm = Vm::boot(&hypervisor, &config, guest::ELF)?;
        vm.start()?;
        // A connection asked for earlier would be refused and tried again much later.
        wait_until_serving(&vm.handle(), TIMEOUT)?;
        let mut stream = vm.net().context("the VM has no network link")?.connect(80)?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")?;
        let read = read_some(&mut stream, &mut [0; 16])
            .context("read the answer of a guest that was just booted")?;
        ensure!(
            read > 0,
            "the guest closed the connection; it printed: {:?}",
            vm.handle().serial_text()
        );
        durations.record(begun.elapsed());
    }
    Ok(durations)
}
