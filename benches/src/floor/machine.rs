//! KVM without a library: the only place of this crate with unsafe code.

use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};

use anyhow::{Context, bail};
use kvm_bindings::{KVM_CAP_SPLIT_IRQCHIP, kvm_enable_cap, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};

use super::saved::Saved;

/// The first device window; nobody serves it here.
pub(super) const DEVICES: u64 = 0xd000_0000;
/// The boot timer and the mark that says "running again" (docs/guest-abi.md).
const BOOT_TIMER: u64 = 0xd000_2000;
const MARK_RESUMED: [u8; 4] = 5_u32.to_le_bytes();
const IO_APIC_PINS: u64 = 24;

/// A private mapping that is guest memory.
#[derive(Debug)]
pub(super) struct Ram {
    base: NonNull<u8>,
    len: usize,
}

impl Ram {
    /// Address space without memory behind it yet.
    pub(super) fn reserve(len: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: without MAP_FIXED, mmap replaces no mapping; any arguments are allowed.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                -1,
                0,
            )
        };
        Self::mapped(base, len)
    }

    /// The saved memory, copy on write.
    pub(super) fn of(saved: &Saved) -> io::Result<Self> {
        let (len, offset) = (saved.memory_bytes, file_offset(saved)?);
        let flags = libc::MAP_PRIVATE | libc::MAP_NORESERVE;
        // SAFETY: as in `reserve`.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                saved.file.as_raw_fd(),
                offset,
            )
        };
        Self::mapped(base, len)
    }

    /// Maps the saved memory over this, copy on write.
    pub(super) fn map(&self, saved: &Saved) -> io::Result<()> {
        if saved.memory_bytes != self.len {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = libc::MAP_PRIVATE | libc::MAP_NORESERVE | libc::MAP_FIXED;
        // SAFETY: the range replaced is exactly the mapping that `self` owns. Only KVM and `write` reach it, through addresses,
        // so no Rust reference sees its contents change.
        let base = unsafe {
            libc::mmap(
                self.base.as_ptr().cast(),
                self.len,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                saved.file.as_raw_fd(),
                file_offset(saved)?,
            )
        };
        if base == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// Gives the pages that the guest is about to write copies of their own, in one call for each range.
    pub(super) fn populate(&self, saved: &Saved) -> io::Result<()> {
        for &(gpa, len) in &saved.working_set {
            if gpa.checked_add(len).is_none_or(|end| end > self.len) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            // SAFETY: `gpa` is within the mapping (checked above), which is one allocation.
            let from = unsafe { self.base.add(gpa) };
            // SAFETY: the range is within the mapping that `self` owns; MADV_POPULATE_WRITE changes no contents.
            if unsafe { libc::madvise(from.as_ptr().cast(), len, libc::MADV_POPULATE_WRITE) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    /// Writes `bytes` at GPA `gpa`.
    pub(super) fn write(&self, gpa: usize, bytes: &[u8]) -> io::Result<()> {
        let inside = gpa.checked_add(bytes.len()).is_some_and(|end| end <= self.len);
        if !inside {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: `gpa` is within the mapping (checked above), which is one allocation.
        let to = unsafe { self.base.add(gpa) };
        // SAFETY: `to` is valid for `bytes.len()` bytes (checked above), `bytes` is memory of this program and so does not
        // overlap guest memory, and no vCPU runs, because this thread is the one that runs it. The file behind the mapping is
        // sealed against shrinking.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), bytes.len()) };
        Ok(())
    }

    fn mapped(base: *mut libc::c_void, len: usize) -> io::Result<Self> {
        match NonNull::new(base.cast()) {
            Some(ram) if base != libc::MAP_FAILED => Ok(Self { base: ram, len }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        // SAFETY: the mapping is `self`'s own and nobody has its address any more: `Machine` drops its VM first.
        let status = unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert_eq!(status, 0, "a mapping of our own can be unmapped");
    }
}

fn file_offset(saved: &Saved) -> io::Result<libc::off_t> {
    libc::off_t::try_from(saved.file_offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// A VM with one vCPU. Dropped in this order: who uses the memory before the memory.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) vcpu: VcpuFd,
    /// Kept open: a VM ends with its last descriptor.
    _vm: VmFd,
    pub(super) ram: Ram,
}

impl Machine {
    /// The system calls that no VM can do without, in the order in which they cost least.
    pub(super) fn create(kvm: &Kvm, ram: Ram, saved: &Saved) -> anyhow::Result<Self> {
        let vm = kvm.create_vm().context("KVM_CREATE_VM")?;
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: u64::try_from(ram.len)?,
            userspace_addr: u64::try_from(ram.base.as_ptr().addr())?,
        };
        // SAFETY: the range is the mapping that `ram` owns, which `Machine` keeps until vCPU and VM are closed; nothing in this
        // process has references into it.
        unsafe { vm.set_user_memory_region(region) }.context("KVM_SET_USER_MEMORY_REGION")?;
        let mut split = kvm_enable_cap {
            cap: KVM_CAP_SPLIT_IRQCHIP,
            ..kvm_enable_cap::default()
        };
        split.args[0] = IO_APIC_PINS;
        vm.enable_cap(&split).context("enable the split irqchip")?;
        let vcpu = vm.create_vcpu(0).context("KVM_CREATE_VCPU")?;
        vcpu.set_cpuid2(&saved.cpuid).context("KVM_SET_CPUID2")?;
        Ok(Self { vcpu, _vm: vm, ram })
    }

    /// Sets the vector registers.
    pub(super) fn set_xsave(&self, saved: &Saved) -> anyhow::Result<()> {
        // SAFETY: KVM_SET_XSAVE reads the 4 KiB of the structure; this program enables no dynamic XSAVE feature.
        unsafe { self.vcpu.set_xsave(&saved.xsave) }.context("KVM_SET_XSAVE")
    }

    /// Tells the guest that it is another copy of itself, as the generation device does.
    pub(super) fn stamp(&self, saved: &Saved) -> anyhow::Result<()> {
        self.ram
            .write(saved.page, &saved.stamp)
            .context("write the generation page")
    }

    /// Runs the guest to its first exit, which must be mark 5.
    pub(super) fn run_to_mark(&mut self) -> anyhow::Result<()> {
        match self.vcpu.run().context("KVM_RUN")? {
            VcpuExit::MmioWrite(BOOT_TIMER, data) if data == MARK_RESUMED => Ok(()),
            exit => bail!("the guest's first exit is {exit:?}, not a write of 5 to {BOOT_TIMER:#x}"),
        }
    }
}
