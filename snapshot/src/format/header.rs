use std::mem::{offset_of, size_of};

use vm_memory::GuestAddress;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::architecture::Architecture;
use super::error::{FormatError, Part};
use super::limits::{
    FORMAT_VERSION, GROUP_BYTES, HEADER_BYTES, HEADER_LEN, MAX_FINGERPRINT_BYTES, MAX_MEMORY_BYTES,
    MAX_REGIONS, MAX_RUNS, MAX_SECTION_BYTES, MAX_SECTIONS,
};
use super::page_map::RUN_BYTES;
use super::table::ENTRY_BYTES;
use crate::fingerprint::Fingerprint;
use crate::id::SnapshotId;
use crate::image::ImageRegion;
use crate::int::{to_u64, to_usize};

/// Eight bytes that a text tool, a 7-bit channel or a line-end conversion would spoil.
const MAGIC: [u8; 8] = *b"\x89VMSNAP\n";
const BYTE_ORDER: u32 = 0x0a0b_0c0d;
/// What the offset of the first region cannot exceed, with all limits used up.
const MAX_MEMORY_OFFSET: u64 =
    (HEADER_BYTES + to_u64(MAX_SECTIONS) * ENTRY_BYTES + MAX_SECTION_BYTES).next_multiple_of(GROUP_BYTES);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawRegion {
    gpa: U64,
    len_bytes: U64,
    file_offset: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone)]
#[repr(C)]
struct RawHeader {
    // These four are where they are in every version, and so is the length of the header: a reader of one
    // version can tell the header of another from damage.
    magic: [u8; 8],
    byte_order: U32,
    version: U32,
    crc: U32,
    architecture: U32,
    page_size_bytes: U32,
    region_count: U32,
    id: [u8; 16],
    created_unix_ns: U64,
    file_len: U64,
    table_offset: U64,
    section_count: U32,
    table_crc: U32,
    page_map_offset: U64,
    run_count: U32,
    page_map_crc: U32,
    fingerprint_len: U32,
    reserved0: [u8; 28],
    regions: [RawRegion; MAX_REGIONS],
    reserved1: [u8; 1728],
    fingerprint: [u8; MAX_FINGERPRINT_BYTES],
}

const _: () = assert!(size_of::<RawHeader>() == HEADER_LEN);

/// Records of a table in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) offset: u64,
    pub(crate) count: usize,
    pub(crate) crc: u32,
}

/// The first 4 KiB of a snapshot: enough to decide about it without reading the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// Instruction set of the guest.
    pub architecture: Architecture,
    /// Size in bytes of the pages the memory is saved in.
    pub page_size_bytes: u32,
    /// The snapshot's name, given by whoever saved it.
    pub id: SnapshotId,
    /// When it was saved, in nanoseconds since the Unix epoch, by the saver's clock.
    pub created_unix_ns: u64,
    /// Length of the whole file in bytes, holes included.
    pub file_len: u64,
    /// Guest memory, ascending by GPA.
    pub regions: Vec<ImageRegion>,
    /// What the host must be like, for [`check`](crate::check).
    pub fingerprint: Fingerprint,
    pub(crate) table: Extent,
    pub(crate) page_map: Extent,
}

/// Lays regions out behind `end`, each at the next multiple of 2 MiB.
pub(crate) fn place_regions(
    end: u64,
    regions: impl Iterator<Item = (GuestAddress, u64)>,
) -> Vec<ImageRegion> {
    regions
        .scan(end, |end, (gpa, len_bytes)| {
            let region = ImageRegion {
                gpa,
                len_bytes,
                file_offset: end.next_multiple_of(GROUP_BYTES),
            };
            *end = region.file_end();
            Some(region)
        })
        .collect()
}

fn refuse(at: usize, field: &'static str, found: u64, rule: &'static str) -> FormatError {
    FormatError::Field {
        part: Part::Header,
        offset: to_u64(at),
        field,
        found,
        rule,
    }
}

impl Header {
    /// Length of the guest memory in bytes, pages without data included.
    pub fn memory_bytes(&self) -> u64 {
        self.regions.iter().map(|region| region.len_bytes).sum()
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut raw = RawHeader::new_zeroed();
        raw.magic = MAGIC;
        raw.byte_order = BYTE_ORDER.into();
        raw.version = FORMAT_VERSION.into();
        raw.architecture = self.architecture.0.into();
        raw.page_size_bytes = self.page_size_bytes.into();
        raw.region_count = saturated(self.regions.len());
        raw.id = self.id.0;
        raw.created_unix_ns = self.created_unix_ns.into();
        raw.file_len = self.file_len.into();
        raw.table_offset = self.table.offset.into();
        raw.section_count = saturated(self.table.count);
        raw.table_crc = self.table.crc.into();
        raw.page_map_offset = self.page_map.offset.into();
        raw.run_count = saturated(self.page_map.count);
        raw.page_map_crc = self.page_map.crc.into();
        for (raw, region) in raw.regions.iter_mut().zip(&self.regions) {
            raw.gpa = region.gpa.0.into();
            raw.len_bytes = region.len_bytes.into();
            raw.file_offset = region.file_offset.into();
        }
        let fingerprint = self.fingerprint.encode();
        raw.fingerprint_len = saturated(fingerprint.len());
        for (raw, byte) in raw.fingerprint.iter_mut().zip(fingerprint.bytes()) {
            *raw = byte;
        }
        raw.crc = crc32fast::hash(raw.as_bytes()).into();
        zerocopy::transmute!(raw)
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, FormatError> {
        let raw: &RawHeader = zerocopy::transmute_ref!(bytes);
        check_tripwires(raw)?;
        let page = u64::from(raw.page_size_bytes.get());
        if !page.is_power_of_two() || !(4096..=GROUP_BYTES).contains(&page) {
            let at = offset_of!(RawHeader, page_size_bytes);
            return Err(refuse(
                at,
                "page size",
                page,
                "a power of two from 4 KiB to 2 MiB",
            ));
        }
        let regions = decode_regions(raw, page)?;
        let (table, page_map) = decode_extents(raw)?;
        let memory_end = regions.last().map_or(0, ImageRegion::file_end);
        if page_map.offset != memory_end {
            let at = offset_of!(RawHeader, page_map_offset);
            return Err(refuse(
                at,
                "page map offset",
                page_map.offset,
                "the end of the last region",
            ));
        }
        let file_len = raw.file_len.get();
        if file_len != memory_end + to_u64(page_map.count) * RUN_BYTES {
            return Err(refuse(
                offset_of!(RawHeader, file_len),
                "file length",
                file_len,
                "the page map's end",
            ));
        }
        Ok(Self {
            architecture: Architecture(raw.architecture.get()),
            page_size_bytes: raw.page_size_bytes.get(),
            id: SnapshotId(raw.id),
            created_unix_ns: raw.created_unix_ns.get(),
            file_len,
            regions,
            fingerprint: decode_fingerprint(raw)?,
            table,
            page_map,
        })
    }
}

/// A count as it is stored. One that does not fit is far beyond every limit, and stays so.
fn saturated(count: usize) -> U32 {
    u32::try_from(count).unwrap_or(u32::MAX).into()
}

fn check_tripwires(raw: &RawHeader) -> Result<(), FormatError> {
    if raw.magic != MAGIC {
        return Err(FormatError::NotASnapshot {
            found: raw.magic.to_vec(),
        });
    }
    if raw.byte_order.get() == BYTE_ORDER.swap_bytes() {
        return Err(FormatError::ForeignByteOrder);
    }
    let expected = raw.crc.get();
    let found = crc32fast::hash(
        RawHeader {
            crc: 0.into(),
            ..raw.clone()
        }
        .as_bytes(),
    );
    if found != expected {
        return Err(FormatError::Checksum {
            part: Part::Header,
            offset: 0,
            found,
            expected,
        });
    }
    let byte_order = raw.byte_order.get();
    if byte_order != BYTE_ORDER {
        let at = offset_of!(RawHeader, byte_order);
        return Err(refuse(at, "byte order", byte_order.into(), "0x0a0b0c0d"));
    }
    match raw.version.get() {
        FORMAT_VERSION => {}
        found if found > FORMAT_VERSION => {
            return Err(FormatError::NewerVersion {
                found,
                supported: FORMAT_VERSION,
            });
        }
        found => {
            return Err(FormatError::OlderVersion {
                found,
                supported: FORMAT_VERSION,
            });
        }
    }
    for (at, reserved) in [
        (offset_of!(RawHeader, reserved0), raw.reserved0.as_slice()),
        (offset_of!(RawHeader, reserved1), raw.reserved1.as_slice()),
    ] {
        if let Some(byte) = reserved.iter().find(|&&byte| byte != 0) {
            return Err(refuse(at, "reserved", u64::from(*byte), "zero"));
        }
    }
    Ok(())
}

fn decode_regions(raw: &RawHeader, page: u64) -> Result<Vec<ImageRegion>, FormatError> {
    let count = to_usize(raw.region_count.get().into());
    let Some((used, unused)) = raw.regions.split_at_checked(count).filter(|_| count > 0) else {
        let at = offset_of!(RawHeader, region_count);
        return Err(refuse(at, "region count", to_u64(count), "1 to 8"));
    };
    let at = |index: usize| offset_of!(RawHeader, regions) + index * size_of::<RawRegion>();
    let mut regions: Vec<ImageRegion> = Vec::with_capacity(count);
    let mut total: u64 = 0;
    for (index, region) in used.iter().enumerate() {
        let (gpa, len_bytes) = (region.gpa.get(), region.len_bytes.get());
        let gpa_end_before = regions.last().map_or(0, ImageRegion::end);
        if !gpa.is_multiple_of(page) || gpa < gpa_end_before {
            return Err(refuse(
                at(index),
                "region GPA",
                gpa,
                "page aligned and behind the region before",
            ));
        }
        total = total.saturating_add(len_bytes);
        let is_whole = len_bytes > 0 && len_bytes.is_multiple_of(page);
        if !is_whole || total > MAX_MEMORY_BYTES || gpa.checked_add(len_bytes).is_none() {
            return Err(refuse(
                at(index),
                "region length",
                len_bytes,
                "whole pages, at most 1 TiB in all",
            ));
        }
        let file_offset = region.file_offset.get();
        let is_placed = match regions.last() {
            None => file_offset.is_multiple_of(GROUP_BYTES) && file_offset <= MAX_MEMORY_OFFSET,
            Some(before) => file_offset == before.file_end().next_multiple_of(GROUP_BYTES),
        };
        if !is_placed {
            return Err(refuse(
                at(index),
                "region file offset",
                file_offset,
                "the next multiple of 2 MiB",
            ));
        }
        regions.push(ImageRegion {
            gpa: GuestAddress(gpa),
            len_bytes,
            file_offset,
        });
    }
    if let Some(byte) = unused.as_bytes().iter().find(|&&byte| byte != 0) {
        return Err(refuse(at(count), "unused region", u64::from(*byte), "zero"));
    }
    Ok(regions)
}

fn decode_extents(raw: &RawHeader) -> Result<(Extent, Extent), FormatError> {
    let table = Extent {
        offset: raw.table_offset.get(),
        count: to_usize(raw.section_count.get().into()),
        crc: raw.table_crc.get(),
    };
    if table.offset != HEADER_BYTES {
        return Err(refuse(
            offset_of!(RawHeader, table_offset),
            "section table offset",
            table.offset,
            "0x1000",
        ));
    }
    if table.count > MAX_SECTIONS {
        let at = offset_of!(RawHeader, section_count);
        return Err(refuse(at, "section count", to_u64(table.count), "at most 1024"));
    }
    let page_map = Extent {
        offset: raw.page_map_offset.get(),
        count: to_usize(raw.run_count.get().into()),
        crc: raw.page_map_crc.get(),
    };
    if page_map.count > MAX_RUNS {
        let at = offset_of!(RawHeader, run_count);
        return Err(refuse(
            at,
            "run count",
            to_u64(page_map.count),
            "at most 0x400000",
        ));
    }
    Ok((table, page_map))
}

fn decode_fingerprint(raw: &RawHeader) -> Result<Fingerprint, FormatError> {
    let len = to_usize(raw.fingerprint_len.get().into());
    raw.fingerprint
        .split_at_checked(len)
        .filter(|(_, padding)| padding.iter().all(|&byte| byte == 0))
        .and_then(|(text, _)| Fingerprint::decode(text))
        .ok_or_else(|| {
            let at = offset_of!(RawHeader, fingerprint);
            refuse(
                at,
                "host fingerprint length",
                to_u64(len),
                "that of sorted key=value lines, zeroes behind",
            )
        })
}

#[cfg(test)]
mod tests;
