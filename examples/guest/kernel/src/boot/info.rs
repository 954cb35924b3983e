//! The two boot protocols' structures, reduced to what the kernel needs.

use core::fmt;

use super::CommandLine;

/// Physical memory, as far as the boot structures may point into it.
pub trait Physical<'a> {
    /// The `len` bytes at guest physical address `gpa`, or `None` if any of them is out of reach.
    fn bytes(&self, gpa: u64, len: usize) -> Option<&'a [u8]>;
}

/// The way by which the kernel was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Linux's 64-bit boot protocol.
    Linux64,
    /// Xen's PVH.
    Pvh,
}

/// What the kernel learns from its loader.
#[derive(Debug, Clone, Copy)]
pub struct BootInfo<'a> {
    /// How the kernel was entered.
    pub entry: Entry,
    /// The command line; empty if there is none.
    pub command_line: CommandLine<'a>,
    /// All RAM of the memory map, in bytes.
    pub memory_len: u64,
    /// End of the RAM region that holds the image, at most 3 GiB: the kernel and its heap live below.
    pub ram_end: u64,
}

/// Why the boot information cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BootError {
    /// The structure at this address is out of reach.
    Unreadable(u64),
    /// `hvm_start_info` has another magic number or no memory map (version 0).
    NotPvh,
    /// No RAM region of the memory map holds the image.
    NoRam,
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(gpa) => write!(f, "boot structure at {gpa:#x} is out of reach"),
            Self::NotPvh => f.write_str("hvm_start_info has no memory map or another magic number"),
            Self::NoRam => f.write_str("no RAM in the memory map holds the image"),
        }
    }
}

/// RAM above is where devices are, or is not mapped.
pub(super) const RAM_LIMIT: u64 = 3 << 30;
/// As the guest ABI has it; loaders may allow less.
const COMMAND_LINE_LEN: usize = 2048;
const RAM: u32 = 1;

impl<'a> BootInfo<'a> {
    /// Reads the structure at `gpa` (`boot_params` or `hvm_start_info`). `image_end` is the first address
    /// behind the kernel's image.
    ///
    /// # Errors
    /// See [`BootError`]; every address and count in the structures is checked.
    pub fn read(
        entry: Entry,
        gpa: u64,
        image_end: u64,
        memory: &impl Physical<'a>,
    ) -> Result<Self, BootError> {
        let (command_line, map) = match entry {
            Entry::Linux64 => linux(gpa, memory)?,
            Entry::Pvh => pvh(gpa, memory)?,
        };
        let mut memory_len = 0_u64;
        let mut ram_end = None;
        for (start, len) in map.regions() {
            memory_len = memory_len.saturating_add(len);
            let end = start.saturating_add(len).min(RAM_LIMIT);
            if start < image_end && image_end <= end {
                ram_end = Some(end);
            }
        }
        Ok(Self {
            entry,
            command_line,
            memory_len,
            ram_end: ram_end.ok_or(BootError::NoRam)?,
        })
    }
}

/// A memory map: packed entries of address (u64), length (u64), kind (u32) and perhaps padding.
struct Map<'a> {
    bytes: &'a [u8],
    entry_len: usize,
}

impl Map<'_> {
    fn regions(&self) -> impl Iterator<Item = (u64, u64)> {
        self.bytes
            .chunks_exact(self.entry_len)
            .filter_map(|entry| (u32_at(entry, 16)? == RAM).then_some((u64_at(entry, 0)?, u64_at(entry, 8)?)))
    }
}

/// `boot_params`, Linux's `Documentation/arch/x86/zero-page.rst`.
fn linux<'a>(gpa: u64, memory: &impl Physical<'a>) -> Result<(CommandLine<'a>, Map<'a>), BootError> {
    const LEN: usize = 4096;
    const E820_ENTRIES: usize = 0x1e8;
    const CMD_LINE_PTR: usize = 0x228;
    const E820_TABLE: usize = 0x2d0;
    const E820_MAX: usize = 128;
    let unreadable = BootError::Unreadable(gpa);
    let params = memory.bytes(gpa, LEN).ok_or(unreadable)?;
    let count = usize::from(*params.get(E820_ENTRIES).ok_or(unreadable)?).min(E820_MAX);
    let bytes = params
        .get(E820_TABLE..E820_TABLE + count * 20)
        .ok_or(unreadable)?;
    let text = u32_at(params, CMD_LINE_PTR).ok_or(unreadable)?;
    Ok((
        command_line(u64::from(text), memory),
        Map { bytes, entry_len: 20 },
    ))
}

/// `hvm_start_info`, Xen's `xen/include/public/arch-x86/hvm/start_info.h`.
fn pvh<'a>(gpa: u64, memory: &impl Physical<'a>) -> Result<(CommandLine<'a>, Map<'a>), BootError> {
    const LEN: usize = 56;
    const MAGIC: u32 = 0x336e_c578;
    const MAX_ENTRIES: u32 = 128;
    let unreadable = BootError::Unreadable(gpa);
    let info = memory.bytes(gpa, LEN).ok_or(unreadable)?;
    let version = u32_at(info, 4).ok_or(unreadable)?;
    if u32_at(info, 0) != Some(MAGIC) || version == 0 {
        return Err(BootError::NotPvh);
    }
    let text = u64_at(info, 24).ok_or(unreadable)?;
    let map = u64_at(info, 40).ok_or(unreadable)?;
    let count = u32_at(info, 48).ok_or(unreadable)?.min(MAX_ENTRIES);
    let map_len = usize::try_from(count).map_err(|_| unreadable)? * 24;
    let bytes = memory.bytes(map, map_len).ok_or(BootError::Unreadable(map))?;
    Ok((command_line(text, memory), Map { bytes, entry_len: 24 }))
}

fn command_line<'a>(gpa: u64, memory: &impl Physical<'a>) -> CommandLine<'a> {
    let bytes = if gpa == 0 {
        None
    } else {
        memory.bytes(gpa, COMMAND_LINE_LEN)
    };
    CommandLine::new(bytes.unwrap_or_default())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PARAMS: u64 = 0x7000;
    const IMAGE_END: u64 = 0x20_0000;

    struct Fake(Vec<u8>);

    impl<'a> Physical<'a> for &'a Fake {
        fn bytes(&self, gpa: u64, len: usize) -> Option<&'a [u8]> {
            let start = usize::try_from(gpa).ok()?;
            self.0.get(start..start.checked_add(len)?)
        }
    }

    fn put(memory: &mut [u8], at: usize, bytes: &[u8]) {
        memory[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn region(start: u64, len: u64, kind: u32) -> Vec<u8> {
        [&start.to_le_bytes()[..], &len.to_le_bytes(), &kind.to_le_bytes()].concat()
    }

    fn linux_memory(regions: &[Vec<u8>]) -> Fake {
        let mut memory = vec![0; 0x2_2000];
        memory[0x71e8] = u8::try_from(regions.len()).unwrap();
        put(&mut memory, 0x72d0, &regions.concat());
        put(&mut memory, 0x7228, &0x2_0000_u32.to_le_bytes());
        put(&mut memory, 0x2_0000, b"resume_mark\0");
        Fake(memory)
    }

    #[test]
    fn boot_params_give_ram_and_command_line() {
        let memory = linux_memory(&[
            region(0, 0x9_fc00, 1),
            region(0xf_0000, 0x1_0000, 2),
            region(1 << 20, 31 << 20, 1),
        ]);
        let info = BootInfo::read(Entry::Linux64, PARAMS, IMAGE_END, &&memory).unwrap();
        assert_eq!((info.ram_end, info.memory_len), (32 << 20, 0x9_fc00 + (31 << 20)));
        assert!(info.command_line.has("resume_mark"));
    }

    #[test]
    fn start_info_gives_ram_and_command_line() {
        let mut memory = vec![0; 0x2_2000];
        put(&mut memory, 0x6000, &0x336e_c578_u32.to_le_bytes());
        put(&mut memory, 0x6004, &1_u32.to_le_bytes());
        put(&mut memory, 0x6018, &0x2_0000_u64.to_le_bytes());
        put(&mut memory, 0x6028, &0x6100_u64.to_le_bytes());
        put(&mut memory, 0x6030, &1_u32.to_le_bytes());
        put(&mut memory, 0x6100, &region(1 << 20, 15 << 20, 1));
        put(&mut memory, 0x2_0000, b"quiet\0");
        let memory = Fake(memory);
        let info = BootInfo::read(Entry::Pvh, 0x6000, IMAGE_END, &&memory).unwrap();
        assert_eq!(info.ram_end, 16 << 20);
        assert!(info.command_line.has("quiet"));
        assert_eq!(
            BootInfo::read(Entry::Pvh, 0x6004, IMAGE_END, &&memory).unwrap_err(),
            BootError::NotPvh
        );
    }

    #[test]
    fn ram_ends_where_devices_begin() {
        let memory = linux_memory(&[region(1 << 20, 8 << 30, 1)]);
        let info = BootInfo::read(Entry::Linux64, PARAMS, IMAGE_END, &&memory).unwrap();
        assert_eq!((info.ram_end, info.memory_len), (3 << 30, 8 << 30));
    }

    #[test]
    fn an_image_outside_ram_is_refused() {
        let memory = linux_memory(&[region(1 << 20, 1 << 19, 1), region(1 << 20, 15 << 20, 2)]);
        let error = BootInfo::read(Entry::Linux64, PARAMS, IMAGE_END, &&memory).unwrap_err();
        assert_eq!(error, BootError::NoRam);
        let error = BootInfo::read(Entry::Linux64, 1 << 40, IMAGE_END, &&memory).unwrap_err();
        assert_eq!(error, BootError::Unreadable(1 << 40));
    }

    proptest! {
        #[test]
        fn any_structure_is_read_within_bounds(noise in proptest::collection::vec(any::<u8>(), 0x1000), gpa in 0_u64..0x3000, pvh: bool) {
            let mut noise = noise;
            put(&mut noise, 0, &0x336e_c578_u32.to_le_bytes());
            let memory = Fake(noise);
            let entry = if pvh { Entry::Pvh } else { Entry::Linux64 };
            if let Ok(info) = BootInfo::read(entry, if pvh { gpa & 0xf00 } else { gpa }, IMAGE_END, &&memory) {
                prop_assert!(info.ram_end >= IMAGE_END && info.ram_end <= RAM_LIMIT);
            }
        }
    }
}
