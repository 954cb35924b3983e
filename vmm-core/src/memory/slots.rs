//! Memory slots: telling KVM which host memory is guest RAM.

use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap, MemoryRegionAddress};

use super::ram::GuestRam;
use super::rom::Rom;

/// RAM has at most two slots.
const ROM_SLOT: u32 = 2;

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
        // SAFETY: the region is a part of `ram`, which the caller keeps mapped for as long as the VM lives.
        unsafe { set(vm, slot, region, 0) }?;
    }
    Ok(())
}

/// Registers `rom` with `vm`, behind the slots of its RAM.
///
/// # Safety
/// `rom` must stay mapped until `vm` and every vCPU of it are closed.
pub(crate) unsafe fn register_rom(vm: &VmFd, rom: &Rom) -> Result<(), SlotError> {
    for region in rom.memory().iter() {
        // SAFETY: the caller keeps `rom` mapped for as long as the VM lives.
        unsafe { set(vm, ROM_SLOT, region, KVM_MEM_READONLY) }?;
    }
    Ok(())
}

/// # Safety
/// The region must stay mapped until `vm` and every vCPU of it are closed.
unsafe fn set(vm: &VmFd, slot: u32, region: &GuestRegionMmap, flags: u32) -> Result<(), SlotError> {
    let gpa = region.start_addr().raw_value();
    let len_bytes = region.len();
    let host = region
        .get_host_address(MemoryRegionAddress(0))
        .expect("a region's first byte is in the region");
    let memory_region = kvm_userspace_memory_region {
        slot,
        flags,
        guest_phys_addr: gpa,
        memory_size: len_bytes,
        userspace_addr: host.addr() as u64,
    };
    // SAFETY: the host range is a whole region that the caller keeps mapped. The guest may access it at any time; nothing in
    // this process holds references into it.
    unsafe { vm.set_user_memory_region(memory_region) }.map_err(|errno| SlotError {
        slot,
        gpa,
        len_bytes,
        source: errno.into(),
    })
}
