//! Memory slots: telling KVM which host memory is guest RAM.

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};

use super::ram::GuestRam;

/// KVM refused a memory slot.
#[derive(Debug, thiserror::Error)]
#[error("set memory slot {slot} (GPA {gpa:#x}, {len_bytes} bytes)")]
pub struct SlotError {
    slot: u32,
    gpa: u64,
    len_bytes: u64,
    #[source]
    source: std::io::Error,
}

/// Registers all of `ram` with `vm`, one slot a region.
///
/// Must come before the irqchip: the first slot after it costs KVM milliseconds.
///
/// # Safety
/// `ram` must stay mapped until `vm` and every vCPU of it are closed.
pub(crate) unsafe fn register(vm: &VmFd, ram: &GuestRam) -> Result<(), SlotError> {
    for (slot, region) in (0_u32..).zip(ram.memory().iter()) {
        let gpa = region.start_addr().raw_value();
        let len_bytes = region.len();
        let host = region
            .get_host_address(MemoryRegionAddress(0))
            .expect("a region's first byte is in the region");
        let memory_region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: gpa,
            memory_size: len_bytes,
            userspace_addr: host.addr() as u64,
        };
        // SAFETY: the host range is a whole region of `ram`, which the caller keeps mapped for as long as the VM lives. The guest
        // may write it at any time; nothing in this process holds references into it.
        unsafe { vm.set_user_memory_region(memory_region) }.map_err(|errno| SlotError {
            slot,
            gpa,
            len_bytes,
            source: errno.into(),
        })?;
    }
    Ok(())
}
