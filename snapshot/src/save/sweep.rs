use std::ops::Range;

use super::zero::{Content, runs};
use crate::format::GROUP_BYTES;
use crate::image::ImageRegion;
use crate::int::{to_u64, to_usize};
use crate::memory::{MemoryError, PageSource};

/// How far a long save has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of memory looked at so far.
    pub done_bytes: u64,
    /// Bytes of memory that may hold data and have to be looked at.
    pub total_bytes: u64,
}

/// Gives all data of `regions` to `sink`, in ascending runs which each lie within one group of 2 MiB and do
/// not touch within it: the same memory always gives the same runs. One buffer of 2 MiB is used.
pub(crate) fn sweep<E: From<MemoryError>>(
    source: &impl PageSource,
    regions: &[ImageRegion],
    mut progress: impl FnMut(Progress),
    mut sink: impl FnMut(&ImageRegion, u64, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let candidates: Vec<_> = regions
        .iter()
        .map(|region| Ok((region, source.candidates(region.gpa)?)))
        .collect::<Result<_, MemoryError>>()?;
    let total_bytes = candidates
        .iter()
        .flat_map(|(_, ranges)| ranges)
        .map(|range| range.end - range.start)
        .sum();
    let mut done_bytes = 0;
    let page = rustix::param::page_size();
    for (region, ranges) in candidates {
        each_chunk::<E>(source, &ranges, GROUP_BYTES, |gpa, bytes| {
            for (offset, content, run) in runs(bytes, page) {
                if content == Content::Data {
                    sink(region, gpa + to_u64(offset), run)?;
                }
            }
            done_bytes += to_u64(bytes.len());
            progress(Progress {
                done_bytes,
                total_bytes,
            });
            Ok(())
        })?;
    }
    Ok(())
}

/// Reads `ranges`, none of which leaves its region, cut where a block of `chunk_bytes` of guest addresses ends.
pub(crate) fn each_chunk<E: From<MemoryError>>(
    source: &impl PageSource,
    ranges: &[Range<u64>],
    chunk_bytes: u64,
    mut visit: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let longest = ranges
        .iter()
        .map(|range| range.end - range.start)
        .max()
        .unwrap_or(0);
    let mut buffer = vec![0; to_usize(longest.min(chunk_bytes))];
    for range in ranges {
        let mut gpa = range.start;
        while gpa < range.end {
            let end = range.end.min((gpa + 1).next_multiple_of(chunk_bytes));
            let bytes = buffer
                .get_mut(..to_usize(end - gpa))
                .expect("neither a range nor a chunk exceeds the buffer");
            source.read(gpa, bytes)?;
            visit(gpa, bytes)?;
            gpa = end;
        }
    }
    Ok(())
}
