//! Values that the tests of several modules start from.

use std::fmt::Debug;

use vm_memory::GuestAddress;

use super::{Architecture, ENTRY_BYTES, Extent, FormatError, HEADER_BYTES, Header, place_regions};
use crate::fingerprint::Fingerprint;
use crate::id::SnapshotId;
use crate::section::{Section, SectionKind};

/// 4 MiB at zero and 16 KiB at 2 GiB; two sections; an empty page map.
pub(crate) fn header() -> Header {
    let sections_end = HEADER_BYTES + 2 * ENTRY_BYTES + 8;
    let regions = [(GuestAddress(0), 0x40_0000), (GuestAddress(0x8000_0000), 0x4000)];
    let regions = place_regions(sections_end, regions.into_iter());
    let end = regions[1].file_end();
    Header {
        architecture: Architecture::X86_64,
        page_size_bytes: 4096,
        id: SnapshotId([7; 16]),
        created_unix_ns: 1,
        file_len: end,
        regions,
        fingerprint: Fingerprint::from_pairs([("cpu", "test")]).unwrap(),
        table: Extent {
            offset: HEADER_BYTES,
            count: 2,
            crc: 0,
        },
        page_map: Extent {
            offset: end,
            count: 0,
            crc: 0,
        },
    }
}

pub(crate) fn sections() -> Vec<Section> {
    vec![
        Section {
            kind: SectionKind(1),
            version: 1,
            bytes: b"vcpu".to_vec(),
        },
        Section {
            kind: SectionKind(0xffff_ffff),
            version: u16::MAX,
            bytes: b"net0".to_vec(),
        },
    ]
}

/// Asserts that the field with this name was what was refused.
#[track_caller]
pub(crate) fn assert_refused<T: Debug>(result: Result<T, FormatError>, what: &str) {
    match result {
        Err(FormatError::Field { field, .. }) if field == what => {}
        other => panic!("expected {what} to be refused, got {other:?}"),
    }
}
