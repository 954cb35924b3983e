//! The guest's physical address map (docs/guest-abi.md).

use vm_memory::GuestAddress;

/// Version of what a running guest knows of the machine: where RAM and devices are, their interrupt lines, their registers. A
/// change that a restored guest would notice is a new version.
pub(crate) const MACHINE_VERSION: u32 = 1;

/// Bytes in a page; guest and host agree on it on x86-64.
pub(crate) const PAGE_SIZE: u64 = 4096;
/// Below this are RAM and nothing else; from here to 4 GiB are devices.
pub(crate) const MMIO_GAP_START: u64 = 0xc000_0000;
/// RAM that does not fit below the gap goes on here.
pub(crate) const HIGH_RAM_START: u64 = 1 << 32;
/// First device window.
pub(crate) const DEVICE_BASE: u64 = 0xd000_0000;
/// Bytes of a device window.
pub(crate) const DEVICE_LEN: u64 = 0x1000;
/// I/O APIC (Intel 82093AA datasheet; same address as every PC).
pub(crate) const IOAPIC_BASE: u64 = 0xfec0_0000;
/// Bytes of the I/O APIC's window.
pub(crate) const IOAPIC_LEN: u64 = 0x1000;

pub(crate) const GDT: GuestAddress = GuestAddress(0x500);
pub(crate) const PVH_START_INFO: GuestAddress = GuestAddress(0x6000);
pub(crate) const PVH_MEMMAP: GuestAddress = GuestAddress(0x6100);
pub(crate) const ZERO_PAGE: GuestAddress = GuestAddress(0x7000);
pub(crate) const BOOT_STACK: u64 = 0x8ff0;
pub(crate) const PML4: GuestAddress = GuestAddress(0x9000);
pub(crate) const PDPT: GuestAddress = GuestAddress(0xa000);
pub(crate) const PAGE_DIRECTORY: GuestAddress = GuestAddress(0xb000);
pub(crate) const CMDLINE: GuestAddress = GuestAddress(0x2_0000);
/// Longest command line, with its NUL.
pub(crate) const CMDLINE_MAX_BYTES: usize = 2048;
/// End of conventional memory that is reported as RAM (the extended BIOS data area begins here).
pub(crate) const LOW_RAM_END: u64 = 0x9_fc00;
/// Lowest address a kernel is loaded at.
pub(crate) const HIMEM: GuestAddress = GuestAddress(0x10_0000);

/// Smallest memory a VM may have: boot structures below 1 MiB and something to run above.
pub(crate) const MEMORY_MIN_BYTES: u64 = 2 << 20;
/// Largest memory a VM may have.
pub(crate) const MEMORY_MAX_BYTES: u64 = 512 << 30;

/// The RAM ranges (GPA, bytes) of a VM with `memory_bytes` of memory.
pub(crate) fn ram_ranges(memory_bytes: u64) -> Vec<(GuestAddress, u64)> {
    let low = memory_bytes.min(MMIO_GAP_START);
    let mut ranges = vec![(GuestAddress(0), low)];
    if memory_bytes > low {
        ranges.push((GuestAddress(HIGH_RAM_START), memory_bytes - low));
    }
    ranges
}

/// What a boot protocol reports as usable RAM: (first address, bytes).
pub(crate) fn usable_ram(memory_bytes: u64) -> Vec<(u64, u64)> {
    let low = memory_bytes.min(MMIO_GAP_START);
    let mut usable = vec![(0, LOW_RAM_END), (HIMEM.0, low - HIMEM.0)];
    if memory_bytes > low {
        usable.push((HIGH_RAM_START, memory_bytes - low));
    }
    usable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_memory_is_one_range() {
        assert_eq!(ram_ranges(32 << 20), [(GuestAddress(0), 32 << 20)]);
        assert_eq!(usable_ram(32 << 20), [(0, LOW_RAM_END), (1 << 20, 31 << 20)]);
    }

    #[test]
    fn memory_past_the_gap_continues_at_4_gib() {
        assert_eq!(
            ram_ranges(4 << 30),
            [
                (GuestAddress(0), MMIO_GAP_START),
                (GuestAddress(HIGH_RAM_START), 1 << 30)
            ]
        );
    }
}
