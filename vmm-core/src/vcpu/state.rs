//! What a vCPU holds, taking it, and giving it to another vCPU with as few system calls as its present state allows.

use std::io;

use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, KVM_MP_STATE_HALTED, kvm_cpuid_entry2, kvm_debugregs, kvm_lapic_state,
    kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{SyncReg, VcpuFd};
use zerocopy::{Immutable, IntoBytes};

use crate::arch::x86_64::{msr, tsc::TscClock};
use crate::state::{Blocks, BlocksMut, StateError};

/// Most MSRs a saved vCPU may name; KVM lists fewer than 200.
const MAX_MSRS: usize = 1024;

/// A vCPU that is not running: its fd, and what is known of its state.
#[derive(Debug)]
pub(crate) struct Vcpu {
    pub(crate) fd: VcpuFd,
    /// The state it is known to be in, so that only what differs has to be set. `None` once it has run guest code.
    known: Option<Box<VcpuState>>,
    pub(crate) clock: TscClock,
}

/// Everything a vCPU holds but its TSC.
#[derive(Debug, Clone)]
pub(crate) struct VcpuState {
    pub(crate) cpuid: CpuId,
    pub(crate) regs: kvm_regs,
    pub(crate) sregs: kvm_sregs,
    events: kvm_vcpu_events,
    mp_state: kvm_mp_state,
    debugregs: kvm_debugregs,
    xcrs: kvm_xcrs,
    xsave: Box<[u32; 1024]>,
    lapic: Box<kvm_lapic_state>,
    msrs: Vec<kvm_msr_entry>,
}

/// A part of a vCPU's state could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{action} {part} of the vCPU")]
pub struct VcpuStateError {
    action: &'static str,
    part: &'static str,
    #[source]
    source: VcpuStateErrorKind,
}

/// What was wrong with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VcpuStateErrorKind {
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] io::Error),
    /// An MSR has a value that this host does not take.
    #[error("MSR {index:#x}: this host refuses the value {value:#x}")]
    Msr {
        /// Its index.
        index: u32,
        /// The value.
        value: u64,
    },
    /// CPUID can only be set before a vCPU's first instruction.
    #[error(
        "the shell was made for another CPUID: make shells from a template of this snapshot, or restore without one"
    )]
    Cpuid,
}

fn reading(part: &'static str) -> impl Fn(kvm_ioctls::Error) -> VcpuStateError {
    move |errno| VcpuStateError {
        action: "read",
        part,
        source: io::Error::from(errno).into(),
    }
}

fn writing(part: &'static str) -> impl Fn(kvm_ioctls::Error) -> VcpuStateError {
    move |errno| VcpuStateError {
        action: "write",
        part,
        source: io::Error::from(errno).into(),
    }
}

fn write_msrs(fd: &VcpuFd, msrs: &[kvm_msr_entry]) -> Result<(), VcpuStateError> {
    msr::write(fd, msrs).map_err(|error| {
        let source = match error {
            msr::MsrError::Call { source, .. } => source.into(),
            msr::MsrError::Refused { index, value } => VcpuStateErrorKind::Msr { index, value },
        };
        VcpuStateError {
            action: "write",
            part: "MSRs",
            source,
        }
    })
}

fn differ<T: IntoBytes + Immutable>(a: &T, b: &T) -> bool {
    a.as_bytes() != b.as_bytes()
}

impl Vcpu {
    /// A vCPU that has just been made, with `cpuid` set.
    pub(crate) fn new(fd: VcpuFd, cpuid: &CpuId) -> Result<Self, VcpuStateError> {
        fd.set_cpuid2(cpuid).map_err(writing("CPUID"))?;
        let clock = TscClock::measure(&fd).map_err(reading("TSC"))?;
        Ok(Self {
            fd,
            known: None,
            clock,
        })
    }

    /// Forgets what is known of the state, because guest code is about to change it.
    pub(crate) fn about_to_run(&mut self) {
        self.known = None;
    }

    /// Whether it has executed HLT and waits for an interrupt (kernel `api.rst`, 4.38).
    pub(crate) fn is_halted(&self) -> Result<bool, VcpuStateError> {
        Ok(self.fd.get_mp_state().map_err(reading("run state"))?.mp_state == KVM_MP_STATE_HALTED)
    }

    /// Sets general and special registers only: how a kernel is entered.
    pub(crate) fn enter(&mut self, regs: &kvm_regs, sregs: &kvm_sregs) -> Result<(), VcpuStateError> {
        self.fd.set_sregs(sregs).map_err(writing("special registers"))?;
        self.fd.set_regs(regs).map_err(writing("registers"))
    }

    /// Reads the whole state, about ten system calls. `cpuid` is what the vCPU was made with.
    pub(crate) fn save(&self, cpuid: &CpuId, msr_indices: &[u32]) -> Result<VcpuState, VcpuStateError> {
        let fd = &self.fd;
        let saved = msr_indices.iter().copied().filter(|&index| msr::is_saved(index));
        Ok(VcpuState {
            cpuid: cpuid.clone(),
            // First: reading it makes KVM deliver what is pending into the APIC state.
            mp_state: fd.get_mp_state().map_err(reading("run state"))?,
            regs: fd.get_regs().map_err(reading("registers"))?,
            sregs: fd.get_sregs().map_err(reading("special registers"))?,
            xsave: Box::new(fd.get_xsave().map_err(reading("XSAVE area"))?.region),
            xcrs: fd.get_xcrs().map_err(reading("extended control registers"))?,
            debugregs: fd.get_debug_regs().map_err(reading("debug registers"))?,
            lapic: Box::new(fd.get_lapic().map_err(reading("local APIC"))?),
            msrs: msr::read(fd, saved).map_err(reading("MSRs"))?,
            events: fd.get_vcpu_events().map_err(reading("events"))?,
        })
    }

    /// Puts the vCPU into `next`. What is already so is not touched; registers and events go through the run page and
    /// cost no system call of their own (kernel `api.rst`, 5, `kvm_dirty_regs`).
    pub(crate) fn load(&mut self, next: &VcpuState) -> Result<(), VcpuStateError> {
        let known = self.known.as_deref();
        if known.is_some_and(|known| known.cpuid.as_slice() != next.cpuid.as_slice()) {
            return Err(VcpuStateError {
                action: "write",
                part: "CPUID",
                source: VcpuStateErrorKind::Cpuid,
            });
        }
        let fd = &mut self.fd;
        let lapic = known.is_none_or(|known| known.lapic != next.lapic);
        let msrs: Vec<kvm_msr_entry> = match known {
            None => next.msrs.clone(),
            Some(known) => changed_msrs(&known.msrs, &next.msrs),
        };
        // The mode of the APIC is in the special registers, and MSRs depend on the APIC: then they cannot wait for KVM_RUN.
        let sregs_first = lapic || !msrs.is_empty();
        let sregs = known.is_none_or(|known| differ(&known.sregs, &next.sregs));
        if sregs && sregs_first {
            fd.set_sregs(&next.sregs).map_err(writing("special registers"))?;
        }
        if known.is_none_or(|known| differ(&known.xcrs, &next.xcrs)) {
            fd.set_xcrs(&next.xcrs)
                .map_err(writing("extended control registers"))?;
        }
        if known.is_none_or(|known| known.xsave != next.xsave) {
            let xsave = kvm_xsave {
                region: *next.xsave,
                ..kvm_xsave::default()
            };
            // SAFETY: KVM_SET_XSAVE reads exactly the 4 KiB of `region`; no dynamic XSAVE feature was enabled for this process.
            unsafe { fd.set_xsave(&xsave) }.map_err(writing("XSAVE area"))?;
        }
        if known.is_none_or(|known| differ(&known.debugregs, &next.debugregs)) {
            fd.set_debug_regs(&next.debugregs)
                .map_err(writing("debug registers"))?;
        }
        if lapic {
            fd.set_lapic(&next.lapic).map_err(writing("local APIC"))?;
        }
        write_msrs(fd, &msrs)?;
        if known.is_none_or(|known| known.mp_state != next.mp_state) {
            fd.set_mp_state(next.mp_state).map_err(writing("run state"))?;
        }
        let sync = fd.sync_regs_mut();
        sync.regs = next.regs;
        sync.sregs = next.sregs;
        sync.events = next.events;
        fd.set_sync_dirty_reg(SyncReg::Register);
        fd.set_sync_dirty_reg(SyncReg::VcpuEvents);
        if sregs && !sregs_first {
            fd.set_sync_dirty_reg(SyncReg::SystemRegister);
        }
        self.known = None;
        Ok(())
    }

    /// Puts the vCPU into `template` ahead of time and remembers it, so that [`load`](Self::load)ing a state like it is cheap.
    pub(crate) fn prime(&mut self, template: &VcpuState) -> Result<(), VcpuStateError> {
        self.load(template)?;
        // Nothing runs before the real state is loaded, which replaces what load() left in the run page.
        self.fd.set_regs(&template.regs).map_err(writing("registers"))?;
        self.fd
            .set_sregs(&template.sregs)
            .map_err(writing("special registers"))?;
        self.fd.clear_sync_dirty_reg(SyncReg::SystemRegister);
        let mut known = template.clone();
        // A timer that runs in the template would change the APIC behind our back.
        known.lapic = Box::new(self.fd.get_lapic().map_err(reading("local APIC"))?);
        self.known = Some(Box::new(known));
        Ok(())
    }
}

fn changed_msrs(known: &[kvm_msr_entry], next: &[kvm_msr_entry]) -> Vec<kvm_msr_entry> {
    let same = |entry: &kvm_msr_entry| {
        known
            .iter()
            .any(|k| k.index == entry.index && k.data == entry.data)
    };
    // Both lists come from the same host's MSR list, so equal positions are the rule and the search the exception.
    let at_place = |(i, entry): (usize, &kvm_msr_entry)| {
        known
            .get(i)
            .is_some_and(|k| k.index == entry.index && k.data == entry.data)
    };
    next.iter()
        .enumerate()
        .filter(|&pair| !at_place(pair) && !same(pair.1))
        .map(|(_, entry)| *entry)
        .collect()
}

impl VcpuState {
    /// Appends the state's bytes: kernel ABI structures, each behind its length.
    pub(crate) fn encode(&self, out: &mut BlocksMut) {
        out.put(self.cpuid.as_slice().as_bytes());
        out.put(self.regs.as_bytes());
        out.put(self.sregs.as_bytes());
        out.put(self.events.as_bytes());
        out.put(self.mp_state.as_bytes());
        out.put(self.debugregs.as_bytes());
        out.put(self.xcrs.as_bytes());
        out.put(self.xsave.as_bytes());
        out.put(self.lapic.as_bytes());
        out.put(self.msrs.as_slice().as_bytes());
    }

    /// The state whose bytes [`encode`](Self::encode) wrote; sizes are checked, values are for KVM to check.
    pub(crate) fn decode(blocks: &mut Blocks<'_>) -> Result<Self, StateError> {
        let entries: Vec<kvm_cpuid_entry2> = blocks.list("CPUID", KVM_MAX_CPUID_ENTRIES)?;
        Ok(Self {
            cpuid: CpuId::from_entries(&entries).map_err(|_| StateError::Value {
                what: "CPUID entries",
            })?,
            regs: blocks.value("registers")?,
            sregs: blocks.value("special registers")?,
            events: blocks.value("events")?,
            mp_state: blocks.value("run state")?,
            debugregs: blocks.value("debug registers")?,
            xcrs: blocks.value("extended control registers")?,
            xsave: Box::new(blocks.value("XSAVE area")?),
            lapic: Box::new(blocks.value("local APIC")?),
            msrs: blocks.list("MSRs", MAX_MSRS)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u32, data: u64) -> kvm_msr_entry {
        kvm_msr_entry {
            index,
            data,
            ..Default::default()
        }
    }

    #[test]
    fn only_changed_msrs_are_written() {
        let known = [entry(1, 10), entry(2, 20), entry(3, 30)];
        let next = [entry(1, 10), entry(2, 21), entry(3, 30), entry(4, 40)];
        let changed = changed_msrs(&known, &next);
        assert_eq!(changed.iter().map(|e| e.index).collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn msrs_in_another_order_are_recognised() {
        assert!(changed_msrs(&[entry(1, 10), entry(2, 20)], &[entry(2, 20), entry(1, 10)]).is_empty());
    }
}
