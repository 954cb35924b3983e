//! A few read-only pages that a shell runs its warm-up stub from, outside of RAM, so that nothing of it stays behind.
//!
//! One mapping serves every VM of the process.

use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryMmap};

use super::layout::PAGE_SIZE;

/// Just below 4 GiB, where a PC has its firmware.
pub(crate) const ROM_BASE: GuestAddress = GuestAddress(0xffff_0000);
const PML4: u64 = ROM_BASE.0 + PAGE_SIZE;
const PDPT: u64 = ROM_BASE.0 + 2 * PAGE_SIZE;
const PAGE_DIRECTORIES: u64 = ROM_BASE.0 + 3 * PAGE_SIZE;
const ROM_BYTES: usize = 7 * 4096;
/// Present, writable, user, accessed; and for a 2 MiB page: dirty, large. Set ahead, so that nothing has to be written here.
const TABLE: u64 = 0x27;
const LARGE: u64 = 0xe7;
/// The identity map reaches this far.
pub(crate) const ROM_MAPS_BYTES: u64 = 4 << 30;
/// Writing here is an exit: no memory, no device.
pub(crate) const ROM_EXIT: u64 = 0xd00f_f000;

/// Writes to each of `rcx` pages from `rdi` on what it holds, then to `rsi`.
///
/// ```text
/// 1: mov al, [rdi]
///    mov [rdi], al
///    add rdi, 4096
///    dec rcx
///    jnz 1b
///    mov [rsi], al
/// ```
const CODE: [u8; 18] = [
    0x8a, 0x07, 0x88, 0x07, 0x48, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, 0x48, 0xff, 0xc9, 0x75, 0xf0, 0x88,
    0x06,
];

/// Where real-mode code lies in the first page, and what it is: `out 0x80, al`.
pub(crate) const REAL_MODE_OFFSET: u64 = 0x800;
const REAL_MODE_CODE: [u8; 2] = [0xe6, 0x80];
pub(crate) const REAL_MODE_EXIT_PORT: u16 = 0x80;

/// The pages, in memory of this process.
#[derive(Debug)]
pub(crate) struct Rom(GuestMemoryMmap);

impl Rom {
    /// Code, and an identity map of the first 4 GiB in 2 MiB pages that is open to every privilege level.
    ///
    /// The map has the same access bits everywhere, as a unikernel's has: on hosts that shadow page tables, what is touched
    /// through it is then found again through the guest's.
    pub(crate) fn new() -> Result<Self, RomError> {
        let memory = GuestMemoryMmap::from_ranges(&[(ROM_BASE, ROM_BYTES)])?;
        memory.write_slice(&CODE, ROM_BASE)?;
        memory.write_slice(&REAL_MODE_CODE, ROM_BASE.unchecked_add(REAL_MODE_OFFSET))?;
        memory.write_obj(PDPT | TABLE, GuestAddress(PML4))?;
        for gib in 0..4 {
            let directory = PAGE_DIRECTORIES + gib * PAGE_SIZE;
            memory.write_obj(directory | TABLE, GuestAddress(PDPT + gib * 8))?;
            for entry in 0..512 {
                let page = (gib << 30 | entry << 21) | LARGE;
                memory.write_obj(page, GuestAddress(directory + entry * 8))?;
            }
        }
        Ok(Self(memory))
    }

    pub(crate) const fn memory(&self) -> &GuestMemoryMmap {
        &self.0
    }

    /// Value of CR3 for the identity map.
    pub(crate) const fn page_tables(&self) -> u64 {
        PML4
    }
}

/// The pages could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RomError {
    /// No memory.
    #[error(transparent)]
    Map(#[from] vm_memory::mmap::FromRangesError),
    /// A write missed them.
    #[error(transparent)]
    Write(#[from] vm_memory::GuestMemoryError),
}

#[cfg(test)]
mod tests {
    use vm_memory::GuestMemoryBackend;

    use super::*;

    #[test]
    fn the_map_is_the_identity_up_to_4_gib() {
        let rom = Rom::new().unwrap();
        let read = |gpa: u64| rom.memory().read_obj::<u64>(GuestAddress(gpa)).unwrap();
        for gpa in [0, 0x20_0000, 0xffe0_0000_u64] {
            let directory = read(PDPT + (gpa >> 30) * 8) & !0xfff;
            assert_eq!(read(directory + (gpa >> 21 & 511) * 8) & !0xfff, gpa);
        }
        assert!(
            rom.memory().last_addr().raw_value() < 0xffff_fff0,
            "the reset vector is not ours"
        );
    }
}
