use std::fmt;

use super::architecture::Architecture;
use crate::section::SectionKind;

/// A part of a snapshot file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The first 4 KiB.
    Header,
    /// Where the sections are.
    SectionTable,
    /// The bytes of one section.
    Section(SectionKind),
    /// Where the memory has data.
    PageMap,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::SectionTable => f.write_str("section table"),
            Self::Section(kind) => write!(f, "section of kind {kind}"),
            Self::PageMap => f.write_str("page map"),
        }
    }
}

/// What is wrong with the bytes of a snapshot. Offsets are from the start of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The file begins with other bytes than a snapshot does.
    #[error("not a snapshot: begins with {found:02x?}")]
    NotASnapshot {
        /// At most the first eight bytes.
        found: Vec<u8>,
    },
    /// Written in the other byte order, which no version of this format does.
    #[error("foreign byte order: numbers are big-endian")]
    ForeignByteOrder,
    /// Written by a newer version of this crate.
    #[error("format version {found} is newer than {supported}, the newest that is understood")]
    NewerVersion {
        /// The file's version.
        found: u32,
        /// The newest version this crate reads.
        supported: u32,
    },
    /// Written by a version of this crate that is no longer read.
    #[error("format version {found} is older than {supported}, the oldest that is understood")]
    OlderVersion {
        /// The file's version.
        found: u32,
        /// The oldest version this crate reads.
        supported: u32,
    },
    /// The guest's instruction set is not the host's.
    #[error("saved on {found}, this host is {host}")]
    ForeignArchitecture {
        /// The file's.
        found: Architecture,
        /// The host's.
        host: Architecture,
    },
    /// Memory is in pages of another size than the host's.
    #[error("saved with pages of {found} bytes, this host has {host}")]
    ForeignPageSize {
        /// The file's, in bytes.
        found: u32,
        /// The host's, in bytes.
        host: u32,
    },
    /// The file ends too early.
    #[error("truncated: {found_len} bytes, expected {expected_len}")]
    Truncated {
        /// Bytes the file should have.
        expected_len: u64,
        /// Bytes it has.
        found_len: u64,
    },
    /// The file goes on behind its end.
    #[error("trailing bytes: {found_len} bytes, expected {expected_len}")]
    TrailingBytes {
        /// Bytes the file should have.
        expected_len: u64,
        /// Bytes it has.
        found_len: u64,
    },
    /// A part is not what was written.
    #[error("{part} (offset {offset:#x}): crc {found:#010x} expected {expected:#010x}")]
    Checksum {
        /// The damaged part.
        part: Part,
        /// Where it begins.
        offset: u64,
        /// CRC-32 of what is there.
        found: u32,
        /// CRC-32 of what was written.
        expected: u32,
    },
    /// A field has a value that no writer gives it.
    #[error("{part} (offset {offset:#x}): {field} is {found:#x}, must be {rule}")]
    Field {
        /// The part with the field.
        part: Part,
        /// Where the field or its record begins.
        offset: u64,
        /// The field.
        field: &'static str,
        /// Its value.
        found: u64,
        /// What its value must be.
        rule: &'static str,
    },
    /// Guest memory is not what was written. Found by the full verification only.
    #[error(
        "memory at GPA {gpa:#x}, {len_bytes:#x} bytes (offset {offset:#x}): crc {found:#010x} expected {expected:#010x}"
    )]
    DamagedMemory {
        /// First guest address of the damaged group.
        gpa: u64,
        /// Bytes in the group.
        len_bytes: u64,
        /// Where the group lies in the file.
        offset: u64,
        /// CRC-32 of what is there.
        found: u32,
        /// CRC-32 of what was written.
        expected: u32,
    },
    /// Guest memory has data where the page map has none. Found by the full verification only.
    #[error("memory at GPA {gpa:#x} (offset {offset:#x}): page is not zero, the page map says it is")]
    DamagedZeroPage {
        /// Guest address of the page.
        gpa: u64,
        /// Where the page lies in the file.
        offset: u64,
    },
    /// There is data between the parts. Harmless, but not as written. Found by the full verification only.
    #[error("padding (offset {offset:#x}): not zero")]
    DamagedPadding {
        /// Where the damage is, to a page.
        offset: u64,
    },
}
