//! What a VM made ahead runs once, so that KVM has everything allocated: one store to a device, in 64-bit user mode.
//!
//! In the mode in which the guest will run: a KVM that shadows page tables keeps them by mode.

use anyhow::{Context, bail};
use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::VcpuExit;

use super::machine::{DEVICES, Machine};

const CODE_GPA: usize = 0x1000;
/// `mov [rdi], eax`
const CODE: [u8; 2] = [0x89, 0x07];
/// Page tables: one page each, then 2 MiB pages.
const PML4_GPA: usize = 0x2000;
const PDPT_GPA: usize = 0x3000;
const DIRECTORY_GPA: usize = 0x4000;
/// Present, writable, user, accessed, dirty; and a large page.
const TABLE: u64 = 0x27;
const LARGE: u64 = 0xe7;
const LARGE_BYTES: u64 = 2 << 20;

/// Runs the stub with the control registers of `saved`.
pub(super) fn run(machine: &mut Machine, saved: &kvm_sregs) -> anyhow::Result<()> {
    let gpa = |gpa: usize| u64::try_from(gpa).context("an address is 64 bits");
    let write = |at, bytes: &[u8]| machine.ram.write(at, bytes).context("write the stub");
    write(CODE_GPA, &CODE)?;
    write(PML4_GPA, &(gpa(PDPT_GPA)? | TABLE).to_le_bytes())?;
    write(PDPT_GPA, &(gpa(DIRECTORY_GPA)? | TABLE).to_le_bytes())?;
    write(DIRECTORY_GPA, &LARGE.to_le_bytes())?;
    write(DIRECTORY_GPA + size_of::<u64>(), &(DEVICES | LARGE).to_le_bytes())?;
    let sregs = kvm_sregs {
        cr3: gpa(PML4_GPA)?,
        cs: user(0x1b, 0xb, 1),
        ss: user(0x23, 0x3, 0),
        ..*saved
    };
    let regs = kvm_regs {
        rip: gpa(CODE_GPA)?,
        rdi: LARGE_BYTES,
        rflags: 2,
        ..kvm_regs::default()
    };
    let vcpu = &mut machine.vcpu;
    vcpu.set_sregs(&sregs).context("KVM_SET_SREGS")?;
    vcpu.set_regs(&regs).context("KVM_SET_REGS")?;
    match vcpu.run().context("run the stub")? {
        VcpuExit::MmioWrite(DEVICES, _) => {}
        exit => bail!("the stub's exit is {exit:?}"),
    }
    // KVM finishes the store on the next entry, which must not run on.
    vcpu.set_kvm_immediate_exit(1);
    let finished = vcpu.run().map(|exit| format!("{exit:?}"));
    vcpu.set_kvm_immediate_exit(0);
    match finished {
        Err(errno) if errno.errno() == libc::EINTR => Ok(()),
        other => bail!("the stub goes on: {other:?}"),
    }
}

/// A flat segment of privilege level 3.
fn user(selector: u16, type_: u8, long: u8) -> kvm_segment {
    kvm_segment {
        limit: u32::MAX,
        selector,
        type_,
        present: 1,
        dpl: 3,
        db: 1 - long,
        s: 1,
        l: long,
        g: 1,
        ..kvm_segment::default()
    }
}
