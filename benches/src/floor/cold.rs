//! The floor of a cold restore: from no VM to the guest's first action.

use std::time::Instant;

use anyhow::Context;
use kvm_ioctls::{Kvm, SyncReg};

use super::machine::{Machine, Ram};
use super::saved::Saved;
use crate::Pieces;

/// Restores the saved guest into a new VM and runs it to mark 5; says how long that took. Closing the VM is off the clock.
///
/// # Errors
/// KVM refused a step, or the guest did something else first.
pub fn restore(kvm: &Kvm, saved: &Saved) -> anyhow::Result<Pieces> {
    let begun = Instant::now();
    let ram = Ram::of(saved).context("map the memory")?;
    ram.populate(saved).context("populate the working set")?;
    let loaded = Instant::now();
    let mut machine = Machine::create(kvm, ram, saved)?;
    // With the interrupt pending in it, the guest is runnable. A new vCPU has the rest as this guest needs it: it uses no MSR,
    // no debug register and, across its `hlt`, no vector register.
    machine.vcpu.set_lapic(&saved.lapic).context("KVM_SET_LAPIC")?;
    machine.stamp(saved)?;
    let sync = machine.vcpu.sync_regs_mut();
    sync.regs = saved.vcpu.regs;
    sync.sregs = saved.vcpu.sregs;
    machine.vcpu.set_sync_dirty_reg(SyncReg::Register);
    machine.vcpu.set_sync_dirty_reg(SyncReg::SystemRegister);
    let restored = Instant::now();
    machine.run_to_mark()?;
    Ok(Pieces::between(begun, loaded, restored, Instant::now()))
}
