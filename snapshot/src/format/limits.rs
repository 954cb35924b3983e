/// The format version this crate writes, and the only one it reads.
pub const FORMAT_VERSION: u32 = 1;

/// Bytes of the header, at the start of the file.
pub const HEADER_BYTES: u64 = 4096;
pub(crate) const HEADER_LEN: usize = 4096;

/// Regions of guest memory in one snapshot.
pub const MAX_REGIONS: usize = 8;

/// Guest memory of one snapshot in bytes: 1 TiB.
pub const MAX_MEMORY_BYTES: u64 = 1 << 40;

/// Sections in one snapshot.
pub const MAX_SECTIONS: usize = 1024;

/// Bytes of all sections together: 64 MiB.
pub const MAX_SECTION_BYTES: u64 = 64 << 20;

/// Runs in the page map. Every guest up to 32 GiB fits even if it uses every other page; larger ones fit
/// unless they are as scattered as that. The map takes at most 64 MiB.
pub const MAX_RUNS: usize = 1 << 22;

/// Bytes of the host fingerprint, as it is written into the header.
pub const MAX_FINGERPRINT_BYTES: usize = 2048;

/// Guest memory is checksummed in groups that lie within one such block of guest addresses: 2 MiB. Regions
/// begin at a multiple of it in the file, so that they can be mapped with huge pages.
pub const GROUP_BYTES: u64 = 2 << 20;
