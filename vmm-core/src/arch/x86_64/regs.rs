//! Register values at the two entry points.

use kvm_bindings::{kvm_regs, kvm_sregs};
use vm_memory::Address;

use super::boot;
use super::gdt::Segment;
use crate::kernel::Loaded;
use crate::memory::layout;

const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// Bit 1 of RFLAGS always reads as one.
const RFLAGS_FIXED: u64 = 2;

/// General registers for `entry`.
pub(crate) fn regs(entry: Loaded) -> kvm_regs {
    match entry {
        Loaded::Linux64(address) => kvm_regs {
            rip: address.raw_value(),
            rsi: layout::ZERO_PAGE.raw_value(),
            rsp: layout::BOOT_STACK,
            rbp: layout::BOOT_STACK,
            rflags: RFLAGS_FIXED,
            ..kvm_regs::default()
        },
        Loaded::Pvh(address) => kvm_regs {
            rip: address.raw_value(),
            rbx: layout::PVH_START_INFO.raw_value(),
            rflags: RFLAGS_FIXED,
            ..kvm_regs::default()
        },
    }
}

/// Special registers for `entry`, on top of the vCPU's reset state.
pub(crate) fn sregs(entry: Loaded, reset: kvm_sregs) -> kvm_sregs {
    let mut sregs = reset;
    let data = Segment::Data.register(0x18);
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.tr = Segment::Tss.register(0x20);
    sregs.gdt.base = layout::GDT.raw_value();
    sregs.gdt.limit = u16::try_from(size_of_val(&boot::GDT) - 1).expect("the GDT has 6 entries");
    sregs.idt.base = 0;
    sregs.idt.limit = 0;
    match entry {
        Loaded::Linux64(_) => {
            sregs.cs = Segment::Code64.register(0x10);
            sregs.cr3 = layout::PML4.raw_value();
            sregs.cr4 = CR4_PAE;
            sregs.cr0 = CR0_PE | CR0_ET | CR0_PG;
            sregs.efer = EFER_LME | EFER_LMA;
        }
        Loaded::Pvh(_) => {
            sregs.cs = Segment::Code32.register(0x28);
            sregs.cr0 = CR0_PE | CR0_ET;
            sregs.cr4 = 0;
            sregs.efer = 0;
        }
    }
    sregs
}

/// Real-mode special registers whose code segment begins at `base`.
pub(crate) fn real_mode_sregs(reset: kvm_sregs, base: u64) -> kvm_sregs {
    let mut sregs = reset;
    sregs.cs.base = base;
    sregs
}

/// Registers that have nothing but where to run.
pub(crate) fn at(rip: u64) -> kvm_regs {
    kvm_regs {
        rip,
        rflags: RFLAGS_FIXED,
        ..kvm_regs::default()
    }
}
