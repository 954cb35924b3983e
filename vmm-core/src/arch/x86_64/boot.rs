//! The memory side of the two boot protocols: zero page (Linux), start info (PVH), page tables, GDT.

use linux_loader::loader::bootparam::{boot_e820_entry, boot_params};
use linux_loader::loader::elf::start_info::{hvm_memmap_table_entry, hvm_start_info};
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryError};

use super::gdt::Segment;
use crate::kernel::KernelError;
use crate::memory::{GuestRam, layout};

/// "HdrS" and "0xaa55" of the Linux setup header; type of loader: undefined.
const LINUX_HEADER_MAGIC: u32 = 0x5372_6448;
const LINUX_BOOT_FLAG: u16 = 0xaa55;
const LINUX_LOADER_UNDEFINED: u8 = 0xff;
/// Protected-mode kernel alignment, as a relocatable kernel wants it.
const LINUX_KERNEL_ALIGNMENT: u32 = 0x0100_0000;
/// e820 and PVH memory types agree: 1 is usable RAM.
const MEMORY_TYPE_RAM: u32 = 1;
const PVH_MAGIC: u32 = 0x336e_c578;
const PVH_VERSION: u32 = 1;
/// Present, writable; and for a directory entry: a 2 MiB page.
const PAGE_TABLE: u64 = 0x3;
const PAGE_LARGE: u64 = 0x83;
/// 512 entries of 2 MiB map the first GiB.
const DIRECTORY_ENTRIES: u64 = 512;

fn at<T>(what: &'static str, result: Result<T, GuestMemoryError>) -> Result<T, KernelError> {
    result.map_err(|source| KernelError::BootData { what, source })
}

/// The GDT both entries start with: null, null, 64-bit code (0x10), data (0x18), TSS (0x20), 32-bit code (0x28).
pub(crate) const GDT: [u64; 6] = [
    0,
    0,
    Segment::Code64.descriptor(),
    Segment::Data.descriptor(),
    Segment::Tss.descriptor(),
    Segment::Code32.descriptor(),
];

pub(crate) fn write_gdt(ram: &GuestRam) -> Result<(), KernelError> {
    let bytes: Vec<u8> = GDT
        .iter()
        .flat_map(|descriptor| descriptor.to_le_bytes())
        .collect();
    at("GDT", ram.memory().write_slice(&bytes, layout::GDT))
}

/// Identity map of the first GiB, as the Linux 64-bit entry demands.
pub(crate) fn write_page_tables(ram: &GuestRam) -> Result<(), KernelError> {
    let memory = ram.memory();
    at(
        "page tables",
        memory.write_obj(layout::PDPT.raw_value() | PAGE_TABLE, layout::PML4),
    )?;
    at(
        "page tables",
        memory.write_obj(layout::PAGE_DIRECTORY.raw_value() | PAGE_TABLE, layout::PDPT),
    )?;
    let directory: Vec<u8> = (0..DIRECTORY_ENTRIES)
        .flat_map(|i| ((i << 21) | PAGE_LARGE).to_le_bytes())
        .collect();
    at(
        "page tables",
        memory.write_slice(&directory, layout::PAGE_DIRECTORY),
    )
}

/// The zero page of the Linux boot protocol.
pub(crate) fn write_zero_page(ram: &GuestRam, cmdline_bytes: u32) -> Result<(), KernelError> {
    let mut params = boot_params::default();
    params.hdr.boot_flag = LINUX_BOOT_FLAG;
    params.hdr.header = LINUX_HEADER_MAGIC;
    params.hdr.type_of_loader = LINUX_LOADER_UNDEFINED;
    params.hdr.kernel_alignment = LINUX_KERNEL_ALIGNMENT;
    params.hdr.cmd_line_ptr =
        u32::try_from(layout::CMDLINE.raw_value()).expect("command line is below 1 MiB");
    params.hdr.cmdline_size = cmdline_bytes;
    let usable = layout::usable_ram(ram.bytes());
    for (entry, &(addr, size)) in params.e820_table.iter_mut().zip(&usable) {
        *entry = boot_e820_entry {
            addr,
            size,
            r#type: MEMORY_TYPE_RAM,
        };
    }
    params.e820_entries = u8::try_from(usable.len()).expect("at most three ranges of RAM");
    at("zero page", ram.memory().write_obj(params, layout::ZERO_PAGE))
}

/// `hvm_start_info` and its memory map.
pub(crate) fn write_start_info(ram: &GuestRam) -> Result<(), KernelError> {
    let memory = ram.memory();
    let usable = layout::usable_ram(ram.bytes());
    let mut gpa = layout::PVH_MEMMAP;
    for &(addr, size) in &usable {
        let entry = hvm_memmap_table_entry {
            addr,
            size,
            type_: MEMORY_TYPE_RAM,
            reserved: 0,
        };
        at("PVH memory map", memory.write_obj(entry, gpa))?;
        gpa = GuestAddress(gpa.raw_value() + size_of::<hvm_memmap_table_entry>() as u64);
    }
    let info = hvm_start_info {
        magic: PVH_MAGIC,
        version: PVH_VERSION,
        cmdline_paddr: layout::CMDLINE.raw_value(),
        memmap_paddr: layout::PVH_MEMMAP.raw_value(),
        memmap_entries: u32::try_from(usable.len()).expect("at most three ranges of RAM"),
        ..hvm_start_info::default()
    };
    at("PVH start info", memory.write_obj(info, layout::PVH_START_INFO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_page_reports_ram_around_the_bios_area() {
        let ram = GuestRam::reserve(32 << 20).unwrap();
        write_zero_page(&ram, 10).unwrap();
        let params: boot_params = ram.memory().read_obj(layout::ZERO_PAGE).unwrap();
        let second = params.e820_table[1];
        let (entries, addr, size) = (params.e820_entries, second.addr, second.size);
        assert_eq!((entries, addr, size), (2, 1 << 20, 31 << 20));
    }

    #[test]
    fn last_directory_entry_ends_the_first_gib() {
        let ram = GuestRam::reserve(32 << 20).unwrap();
        write_page_tables(&ram).unwrap();
        let last: u64 = ram
            .memory()
            .read_obj(GuestAddress(layout::PAGE_DIRECTORY.0 + 511 * 8))
            .unwrap();
        assert_eq!(last, 0x3fe0_0083);
    }

    #[test]
    fn start_info_points_at_its_memory_map() {
        let ram = GuestRam::reserve(4 << 30).unwrap();
        write_start_info(&ram).unwrap();
        let info: hvm_start_info = ram.memory().read_obj(layout::PVH_START_INFO).unwrap();
        assert_eq!((info.magic, info.memmap_entries), (PVH_MAGIC, 3));
    }
}
