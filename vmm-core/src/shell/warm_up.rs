//! Running a stub in a shell: KVM allocates what it needs for a first entry, and maps the pages that will be touched.

use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::VcpuExit;
use vm_memory::GuestAddress;

use super::ShellError;
use crate::arch::x86_64::regs;
use crate::memory::layout::PAGE_SIZE;
use crate::memory::rom::{REAL_MODE_EXIT_PORT, REAL_MODE_OFFSET, ROM_BASE, ROM_EXIT, ROM_MAPS_BYTES, Rom};
use crate::vcpu::Vcpu;

/// Long mode is active (Intel SDM volume 3, 2.2.1).
const EFER_LMA: u64 = 1 << 10;
const USER: u8 = 3;
const SELECTOR_CODE: u16 = 0x1b;
const SELECTOR_DATA: u16 = 0x23;

/// Touches every page of `ranges` for writing, as the user code of a guest in `mode` would: hosts that emulate privileged
/// code would do that without mapping anything. Pages above 4 GiB are left out.
///
/// What the pages hold stays; vCPU registers change.
pub(super) fn touch(
    vcpu: &mut Vcpu,
    rom: &Rom,
    mode: &kvm_sregs,
    ranges: &[(GuestAddress, u64)],
) -> Result<(), ShellError> {
    if mode.efer & EFER_LMA == 0 {
        return Ok(());
    }
    let sregs = kvm_sregs {
        cr3: rom.page_tables(),
        cs: segment(SELECTOR_CODE, mode.cs, Kind::Code),
        ss: segment(SELECTOR_DATA, mode.ss, Kind::Data),
        ds: segment(SELECTOR_DATA, mode.ds, Kind::Data),
        es: segment(SELECTOR_DATA, mode.es, Kind::Data),
        interrupt_bitmap: [0; 4],
        ..*mode
    };
    for &(gpa, len_bytes) in ranges {
        if gpa.0.saturating_add(len_bytes) > ROM_MAPS_BYTES || len_bytes == 0 {
            continue;
        }
        let regs = kvm_regs {
            rdi: gpa.0,
            rcx: len_bytes / PAGE_SIZE,
            rsi: ROM_EXIT,
            ..regs::at(ROM_BASE.0)
        };
        vcpu.enter(&regs, &sregs)?;
        run(vcpu, |exit| matches!(exit, VcpuExit::MmioWrite(ROM_EXIT, _)))?;
    }
    Ok(())
}

/// Enters the guest for the first time and leaves it again, so that KVM has everything allocated that this takes.
pub(super) fn first_entry(vcpu: &mut Vcpu) -> Result<(), ShellError> {
    let reset = vcpu
        .fd
        .get_sregs()
        .map_err(|errno| ShellError::Stub(errno.into()))?;
    vcpu.enter(
        &regs::at(REAL_MODE_OFFSET),
        &regs::real_mode_sregs(reset, ROM_BASE.0),
    )?;
    run(vcpu, |exit| {
        matches!(exit, VcpuExit::IoOut(REAL_MODE_EXIT_PORT, _))
    })
}

/// Runs the vCPU until an exit that `is_end` knows, and lets KVM complete it.
fn run(vcpu: &mut Vcpu, is_end: impl Fn(&VcpuExit<'_>) -> bool) -> Result<(), ShellError> {
    let kernel = |errno: kvm_ioctls::Error| ShellError::Stub(errno.into());
    let unexpected = |exit: String| ShellError::StubExit { exit };
    loop {
        match vcpu.fd.run() {
            Ok(exit) if is_end(&exit) => break,
            Ok(exit) => return Err(unexpected(format!("{exit:?}"))),
            // A signal that was not meant for it.
            Err(errno) if errno.errno() == libc::EINTR => {}
            Err(errno) => return Err(kernel(errno)),
        }
    }
    // KVM finishes the access on the next entry; that entry must not run on.
    vcpu.fd.set_kvm_immediate_exit(1);
    let finished = vcpu.fd.run().map(|exit| format!("{exit:?}"));
    vcpu.fd.set_kvm_immediate_exit(0);
    match finished {
        Ok(exit) => Err(unexpected(exit)),
        Err(errno) if errno.errno() == libc::EINTR => Ok(()),
        Err(errno) => Err(kernel(errno)),
    }
}

enum Kind {
    Code,
    Data,
}

/// A flat segment of ring 3.
fn segment(selector: u16, like: kvm_segment, kind: Kind) -> kvm_segment {
    let (type_, l, db) = match kind {
        Kind::Code => (0xb, 1, 0),
        Kind::Data => (0x3, 0, 1),
    };
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_,
        present: 1,
        dpl: USER,
        db,
        s: 1,
        l,
        g: 1,
        unusable: 0,
        ..like
    }
}
