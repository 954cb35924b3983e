//! Running guest code: `KVM_RUN`, and a bus access for every exit.

use kvm_ioctls::{VcpuExit, VcpuFd};
use tracing::trace;

use crate::bus::Bus;
use crate::lifecycle::StopReason;

/// The keyboard controller's command port and its "pulse the reset line" command: how a PC is reset without ACPI.
const RESET_PORT: u16 = 0x64;
const RESET_COMMAND: u8 = 0xfe;

/// Both buses of a VM.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buses {
    pub(crate) pio: Bus,
    pub(crate) mmio: Bus,
}

/// Why the run loop returned.
#[derive(Debug)]
pub(super) enum RunEnd {
    /// Somebody asked for it; the vCPU's state is consistent and it can run on.
    Kicked,
    /// The guest cannot go on.
    Stopped(StopReason),
}

/// Runs guest code until kicked or stopped.
///
/// A kick only takes effect when `KVM_RUN` reports `EINTR`: by then KVM has completed the access of the last exit, so the
/// registers are whole.
pub(super) fn run(vcpu: &mut VcpuFd, buses: &Buses) -> RunEnd {
    loop {
        match vcpu.run() {
            Ok(VcpuExit::MmioRead(gpa, data)) => buses.mmio.read(gpa, data),
            Ok(VcpuExit::MmioWrite(gpa, data)) => buses.mmio.write(gpa, data),
            Ok(VcpuExit::IoIn(port, data)) => buses.pio.read(u64::from(port), data),
            Ok(VcpuExit::IoOut(RESET_PORT, [RESET_COMMAND])) => {
                return RunEnd::Stopped(StopReason::GuestReset);
            }
            Ok(VcpuExit::IoOut(port, data)) => buses.pio.write(u64::from(port), data),
            // Level-triggered interrupts are delivered as edges: nothing waits for their end.
            Ok(VcpuExit::IoapicEoi(_)) => {}
            Ok(VcpuExit::Intr) => return RunEnd::Kicked,
            Ok(VcpuExit::Shutdown) => return RunEnd::Stopped(StopReason::TripleFault),
            Ok(VcpuExit::SystemEvent(kind, _)) => return RunEnd::Stopped(StopReason::SystemEvent { kind }),
            Ok(VcpuExit::FailEntry(reason, _)) => {
                return RunEnd::Stopped(StopReason::EntryRefused { reason });
            }
            Ok(VcpuExit::InternalError) => return RunEnd::Stopped(internal_error(vcpu)),
            Ok(exit) => {
                trace!(?exit, "exit that no VM of ours should cause");
                return RunEnd::Stopped(StopReason::UnexpectedExit);
            }
            Err(errno) => match errno.errno() {
                libc::EINTR => return RunEnd::Kicked,
                libc::EAGAIN => {}
                errno => return RunEnd::Stopped(StopReason::RunFailed { errno }),
            },
        }
    }
}

/// KVM could not emulate an instruction, mostly: `suberror` 1, and where it was.
fn internal_error(vcpu: &mut VcpuFd) -> StopReason {
    let run = vcpu.get_kvm_run();
    // SAFETY: the exit reason is KVM_EXIT_INTERNAL_ERROR, for which KVM fills this member of the union; it is plain integers.
    let suberror = unsafe { run.__bindgen_anon_1.internal.suberror };
    let rip = vcpu.get_regs().map_or(0, |regs| regs.rip);
    StopReason::EmulationFailed { suberror, rip }
}
