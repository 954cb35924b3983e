//! Sets of ranges: where a file has data, and unions.

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::dirty::push_range;

/// Where a file has data within a page-aligned range of offsets, widened to pages: ascending, disjoint, not
/// touching. Elsewhere it reads as zeroes or has ended. O(extents); no page is read.
pub(crate) fn data_extents(file: &File, within: Range<u64>, page: u64) -> io::Result<Vec<Range<u64>>> {
    let mut extents = Vec::new();
    let mut at = within.start;
    while at < within.end {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        if start >= within.end {
            break;
        }
        let end = seek(file, SeekFrom::Hole(start))?;
        // Both bounds of `within` are whole pages, so widening does not leave it; nor can it reach back
        // over `at`, which is one as well.
        let start = start - start % page;
        at = end.min(within.end).next_multiple_of(page);
        push_range(&mut extents, start..at);
    }
    Ok(extents)
}

/// The union of two ascending sets: ascending, disjoint, not touching.
pub(crate) fn union(mut a: Vec<Range<u64>>, b: Vec<Range<u64>>) -> Vec<Range<u64>> {
    a.extend(b);
    a.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(a.len());
    for range in a {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// The ranges moved from one base to another.
pub(crate) fn rebase(ranges: Vec<Range<u64>>, from: u64, to: u64) -> impl Iterator<Item = Range<u64>> {
    ranges
        .into_iter()
        .map(move |range| range.start - from + to..range.end - from + to)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn extents_are_whole_pages_within_the_range() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x10_0000).unwrap();
        file.write_all_at(b"x", 0x2_0fff).unwrap();
        file.write_all_at(b"x", 0x2_1000).unwrap();
        file.write_all_at(b"x", 0x8_0000).unwrap();
        let extents = |within| data_extents(&file, within, 4096).unwrap();
        assert_eq!(extents(0..0x10_0000), [0x2_0000..0x2_2000, 0x8_0000..0x8_1000]);
        assert_eq!(
            extents(0x2_1000..0x8_0000),
            std::slice::from_ref(&(0x2_1000..0x2_2000))
        );
        assert_eq!(extents(0x9_0000..0x10_0000), []);
        assert_eq!(extents(0x10_0000..0x20_0000), [], "behind the end of the file");
    }

    #[test]
    fn a_union_is_sorted_and_joined() {
        let a = vec![0..4, 10..12, 20..30];
        let b = vec![4..6, 11..15, 22..23];
        assert_eq!(union(a, b), [0..6, 10..15, 20..30]);
    }
}
