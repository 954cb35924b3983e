//! The floor of a wake: a VM made ahead, as warm as it can be.

use std::time::Instant;

use anyhow::{Context, ensure};
use kvm_ioctls::{Kvm, SyncReg};

use super::machine::{Machine, Ram};
use super::saved::Saved;
use super::stub;
use crate::Pieces;

/// A VM that has run a stub and then been put into the saved state, but for memory, registers and events.
#[derive(Debug)]
pub struct WarmShell {
    machine: Machine,
}

impl WarmShell {
    /// Makes one, off the clock.
    ///
    /// # Errors
    /// KVM refused a step.
    pub fn new(kvm: &Kvm, saved: &Saved) -> anyhow::Result<Self> {
        let ram = Ram::reserve(saved.memory_bytes).context("reserve guest memory")?;
        let mut machine = Machine::create(kvm, ram, saved)?;
        stub::run(&mut machine, &saved.vcpu.sregs)?;
        let (vcpu, state) = (&machine.vcpu, &saved.vcpu);
        vcpu.set_sregs(&state.sregs).context("KVM_SET_SREGS")?;
        vcpu.set_xcrs(&state.xcrs).context("KVM_SET_XCRS")?;
        machine.set_xsave(saved)?;
        vcpu.set_debug_regs(&state.debugregs)
            .context("KVM_SET_DEBUGREGS")?;
        // With the interrupt pending in it, the guest is runnable, whatever its run state was.
        vcpu.set_lapic(&saved.lapic).context("KVM_SET_LAPIC")?;
        for msrs in &saved.msrs {
            let written = vcpu.set_msrs(msrs).context("KVM_SET_MSRS")?;
            ensure!(
                written == msrs.as_slice().len(),
                "KVM refuses MSR {:?}",
                msrs.as_slice().get(written)
            );
        }
        Ok(Self { machine })
    }

    /// Restores the saved guest and runs it to mark 5; says how long that took. What is used up is dropped with the shell.
    ///
    /// # Errors
    /// KVM refused a step, or the guest did something else first.
    pub fn restore(&mut self, saved: &Saved) -> anyhow::Result<Pieces> {
        let machine = &mut self.machine;
        let begun = Instant::now();
        machine.ram.map(saved).context("map the memory")?;
        machine.ram.populate(saved).context("populate the working set")?;
        let loaded = Instant::now();
        machine.stamp(saved)?;
        let sync = machine.vcpu.sync_regs_mut();
        sync.regs = saved.vcpu.regs;
        sync.events = saved.vcpu.events;
        machine.vcpu.set_sync_dirty_reg(SyncReg::Register);
        machine.vcpu.set_sync_dirty_reg(SyncReg::VcpuEvents);
        let restored = Instant::now();
        machine.run_to_mark()?;
        Ok(Pieces::between(begun, loaded, restored, Instant::now()))
    }
}
