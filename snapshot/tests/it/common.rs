//! What several tests build on: memory with known pages, and ways to compare it.

use snapshot::{Section, SectionKind, SnapshotId};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

pub(crate) const PAGE: u64 = 4096;

pub(crate) const ID: SnapshotId = SnapshotId(*b"snapshot-for-ci!");

/// 4 MiB and a page at zero, so that it ends within a group; 64 KiB right behind it; 256 KiB at 4 GiB.
pub(crate) const REGIONS: [(u64, u64); 3] = [(0, 0x40_1000), (0x40_1000, 0x1_0000), (1 << 32, 0x4_0000)];

pub(crate) fn guest(regions: &[(u64, u64)]) -> GuestMemoryMmap {
    let ranges: Vec<_> = regions
        .iter()
        .map(|&(gpa, len)| (GuestAddress(gpa), usize::try_from(len).unwrap()))
        .collect();
    GuestMemoryMmap::from_ranges(&ranges).unwrap()
}

/// The GPA of the nth page of [`REGIONS`], counted round.
pub(crate) fn nth_page(n: u64) -> GuestAddress {
    let total: u64 = REGIONS.iter().map(|(_, len)| len / PAGE).sum();
    let mut n = n % total;
    for (gpa, len) in REGIONS {
        if n < len / PAGE {
            return GuestAddress(gpa + n * PAGE);
        }
        n -= len / PAGE;
    }
    unreachable!("n is less than the sum of all")
}

/// All bytes, region by region.
pub(crate) fn contents(memory: &GuestMemoryMmap) -> Vec<Vec<u8>> {
    memory
        .iter()
        .map(|region| {
            let mut bytes = vec![0; usize::try_from(region.len()).unwrap()];
            memory.read_slice(&mut bytes, region.start_addr()).unwrap();
            bytes
        })
        .collect()
}

pub(crate) fn sections() -> Vec<Section> {
    vec![
        Section {
            kind: SectionKind(1),
            version: 3,
            bytes: b"registers".to_vec(),
        },
        Section {
            kind: SectionKind(2),
            version: 0,
            bytes: vec![],
        },
        Section {
            kind: SectionKind(1),
            version: 3,
            bytes: (0..=255).collect(),
        },
    ]
}
