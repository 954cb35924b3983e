//! The section table: one entry of 32 bytes per section, in the order of the sections.

use std::mem::size_of;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::error::{FormatError, Part};
use super::limits::{HEADER_BYTES, MAX_SECTION_BYTES};
use crate::int::to_u64;
use crate::section::{Section, SectionKind};

pub(crate) const ENTRY_BYTES: u64 = to_u64(size_of::<RawEntry>());

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawEntry {
    kind: U32,
    version: U16,
    reserved0: U16,
    offset: U64,
    len_bytes: U64,
    crc: U32,
    reserved1: U32,
}

/// Where a section is, and what its bytes must sum up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: SectionKind,
    pub(crate) version: u16,
    pub(crate) offset: u64,
    pub(crate) len_bytes: u64,
    pub(crate) crc: u32,
}

impl Entry {
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.len_bytes
    }
}

/// The first byte behind a table of `count` entries: where the first section begins.
fn table_end(count: usize) -> u64 {
    HEADER_BYTES + to_u64(count) * ENTRY_BYTES
}

/// The table for these sections, and the offset behind the last of them.
pub(crate) fn encode_table(sections: &[Section]) -> (Vec<u8>, u64) {
    let mut end = table_end(sections.len());
    let mut bytes = Vec::new();
    for section in sections {
        let entry = RawEntry {
            kind: section.kind.0.into(),
            version: section.version.into(),
            reserved0: 0.into(),
            offset: end.into(),
            len_bytes: to_u64(section.bytes.len()).into(),
            crc: crc32fast::hash(&section.bytes).into(),
            reserved1: 0.into(),
        };
        bytes.extend_from_slice(entry.as_bytes());
        end += to_u64(section.bytes.len());
    }
    (bytes, end)
}

/// Reads a whole table whose checksum is right. Sections are packed: each begins where the one before ends.
pub(crate) fn decode_table(bytes: &[u8]) -> Result<Vec<Entry>, FormatError> {
    let refuse = |index: usize, field, found, rule| FormatError::Field {
        part: Part::SectionTable,
        offset: table_end(index),
        field,
        found,
        rule,
    };
    let (raw, rest) = <[RawEntry]>::ref_from_prefix(bytes).expect("the entries need no alignment");
    debug_assert!(rest.is_empty(), "the caller read whole entries");
    let first = table_end(raw.len());
    let mut end = first;
    let mut entries = Vec::with_capacity(raw.len());
    for (index, entry) in raw.iter().enumerate() {
        let reserved = u64::from(entry.reserved0.get()) | u64::from(entry.reserved1.get());
        if reserved != 0 {
            return Err(refuse(index, "reserved", reserved, "zero"));
        }
        if entry.offset.get() != end {
            return Err(refuse(
                index,
                "offset",
                entry.offset.get(),
                "the end of the section before",
            ));
        }
        let len_bytes = entry.len_bytes.get();
        if len_bytes > MAX_SECTION_BYTES - (end - first) {
            return Err(refuse(
                index,
                "length",
                len_bytes,
                "at most 64 MiB with the sections before",
            ));
        }
        end += len_bytes;
        entries.push(Entry {
            kind: SectionKind(entry.kind.get()),
            version: entry.version.get(),
            offset: entry.offset.get(),
            len_bytes,
            crc: entry.crc.get(),
        });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::testing::{assert_refused, sections};

    #[test]
    fn entries_that_overlap_leave_gaps_or_set_reserved_bits_are_refused() {
        let (table, _) = encode_table(&sections());
        for (at, what) in [
            (6, "reserved"),
            (28, "reserved"),
            (8, "offset"),
            (40, "offset"),
            (22, "length"),
        ] {
            let mut bytes = table.clone();
            bytes[at] ^= 1;
            if at == 22 {
                bytes[at] = 0xff;
            }
            assert_refused(decode_table(&bytes), what);
        }
    }

    #[test]
    fn sections_together_are_bounded() {
        let half = vec![0; usize::try_from(MAX_SECTION_BYTES / 2).unwrap()];
        let section = Section {
            kind: SectionKind(1),
            version: 1,
            bytes: half,
        };
        let mut sections = vec![section.clone(), section];
        assert!(decode_table(&encode_table(&sections).0).is_ok());
        sections[1].bytes.push(0);
        assert_refused(decode_table(&encode_table(&sections).0), "length");
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<[u8; 32]>(), 0..4)) {
            let _ = decode_table(bytes.as_flattened());
        }
    }
}
