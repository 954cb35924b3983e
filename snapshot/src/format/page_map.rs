//! The page map: one record of 16 bytes per run of data pages, ascending by guest address.

use std::mem::size_of;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::error::{FormatError, Part};
use super::header::Header;
use super::limits::GROUP_BYTES;
use crate::image::ImageRegion;
use crate::int::to_u64;

pub(crate) const RUN_BYTES: u64 = to_u64(size_of::<RawRun>());

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawRun {
    first_page: U64,
    pages: U32,
    crc: U32,
}

/// Pages with data, within one region and one 2 MiB block of guest addresses, and their checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DataRun {
    pub(crate) gpa: u64,
    pub(crate) len_bytes: u32,
    pub(crate) crc: u32,
}

impl DataRun {
    pub(crate) fn end(&self) -> u64 {
        self.gpa + u64::from(self.len_bytes)
    }
}

pub(crate) fn encode_page_map(runs: &[DataRun], page_size_bytes: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(runs.len() * size_of::<RawRun>());
    for run in runs {
        let raw = RawRun {
            first_page: (run.gpa / u64::from(page_size_bytes)).into(),
            pages: (run.len_bytes / page_size_bytes).into(),
            crc: run.crc.into(),
        };
        bytes.extend_from_slice(raw.as_bytes());
    }
    bytes
}

/// Reads a whole page map whose checksum is right.
pub(crate) fn decode_page_map(bytes: &[u8], header: &Header) -> Result<Vec<DataRun>, FormatError> {
    let (raw, rest) = <[RawRun]>::ref_from_prefix(bytes).expect("the records need no alignment");
    debug_assert!(rest.is_empty(), "the caller read whole records");
    let page = u64::from(header.page_size_bytes);
    let mut runs: Vec<DataRun> = Vec::with_capacity(raw.len());
    let mut regions = header.regions.iter();
    let mut region = regions.next();
    for (index, record) in raw.iter().enumerate() {
        let refuse = |field, found: u64, rule| FormatError::Field {
            part: Part::PageMap,
            offset: header.page_map.offset + to_u64(index) * RUN_BYTES,
            field,
            found,
            rule,
        };
        let (first, pages) = (record.first_page.get(), u64::from(record.pages.get()));
        if pages == 0 || pages > GROUP_BYTES / page {
            return Err(refuse("page count", pages, "at least one and within one group"));
        }
        let (gpa, len) = match first.checked_mul(page) {
            Some(gpa) if gpa.checked_add(pages * page).is_some() => (gpa, pages * page),
            _ => return Err(refuse("first page", first, "a page of guest memory")),
        };
        if gpa / GROUP_BYTES != (gpa + len - 1) / GROUP_BYTES {
            return Err(refuse("page count", pages, "at least one and within one group"));
        }
        let end_before = runs.last().map_or(0, DataRun::end);
        let joinable = gpa == end_before && !gpa.is_multiple_of(GROUP_BYTES);
        while region.is_some_and(|region| region.end() <= gpa) {
            region = regions.next();
        }
        let starts_region = region.is_some_and(|region| region.gpa.0 == gpa);
        if gpa < end_before || (joinable && !starts_region) {
            return Err(refuse(
                "first page",
                first,
                "behind the run before, with a gap or a new group",
            ));
        }
        let inside = |region: &ImageRegion| region.gpa.0 <= gpa && gpa + len <= region.end();
        if !region.is_some_and(inside) {
            return Err(refuse("first page", first, "a page of guest memory"));
        }
        let len_bytes = u32::try_from(len).expect("a group has 2 MiB");
        runs.push(DataRun {
            gpa,
            len_bytes,
            crc: record.crc.get(),
        });
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::testing::{assert_refused, header};

    fn run(gpa: u64, len_bytes: u32) -> DataRun {
        DataRun {
            gpa,
            len_bytes,
            crc: 7,
        }
    }

    fn round_trip(runs: &[DataRun]) -> Result<Vec<DataRun>, FormatError> {
        decode_page_map(&encode_page_map(runs, 4096), &header())
    }

    #[test]
    fn runs_in_order_within_groups_and_regions_are_accepted() {
        let runs = [
            run(0, 0x1000),
            run(0x2000, 0x1f_e000),
            run(0x20_0000, 0x20_0000),
            run(0x8000_0000, 0x1000),
            run(0x8000_3000, 0x1000),
        ];
        assert_eq!(round_trip(&runs).as_deref(), Ok(&runs[..]));
        assert_eq!(round_trip(&[]), Ok(vec![]));
    }

    #[test]
    fn runs_that_overlap_or_are_out_of_order_are_refused() {
        assert_refused(
            round_trip(&[run(0x1000, 0x2000), run(0x2000, 0x1000)]),
            "first page",
        );
        assert_refused(
            round_trip(&[run(0x5000, 0x1000), run(0x1000, 0x1000)]),
            "first page",
        );
        assert_refused(
            round_trip(&[run(0x1000, 0x1000), run(0x1000, 0x1000)]),
            "first page",
        );
    }

    #[test]
    fn a_second_encoding_of_the_same_pages_is_refused() {
        assert_refused(round_trip(&[run(0, 0x1000), run(0x1000, 0x1000)]), "first page");
    }

    #[test]
    fn runs_outside_memory_or_across_a_group_are_refused() {
        assert_refused(round_trip(&[run(0x40_0000, 0x1000)]), "first page");
        assert_refused(round_trip(&[run(0x8000_3000, 0x2000)]), "first page");
        assert_refused(round_trip(&[run(0x1f_f000, 0x2000)]), "page count");
        assert_refused(round_trip(&[run(0, 0)]), "page count");
        assert_refused(round_trip(&[run(0, 0x20_1000)]), "page count");
        let mut bytes = encode_page_map(&[run(0, 0x1000)], 4096);
        bytes[..8].fill(0xff);
        assert_refused(decode_page_map(&bytes, &header()), "first page");
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<[u8; 16]>(), 0..4)) {
            let _ = decode_page_map(bytes.as_flattened(), &header());
        }

        #[test]
        fn what_is_accepted_has_no_second_encoding(
            records in proptest::collection::vec((0_u64..1200, 0_u32..520), 0..6),
        ) {
            let runs: Vec<_> = records.iter().map(|&(page, pages)| run(page * 4096, pages * 4096)).collect();
            let bytes = encode_page_map(&runs, 4096);
            if let Ok(decoded) = decode_page_map(&bytes, &header()) {
                prop_assert_eq!(encode_page_map(&decoded, 4096), bytes);
            }
        }
    }
}
