//! `/proc/self/pagemap`: eight bytes for each page (Documentation/admin-guide/mm/pagemap.rst).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::{Which, push_range};
use crate::int::to_u64;

const ENTRY_BYTES: u64 = 8;
const BUFFER_BYTES: usize = 64 << 10;
/// The page belongs to a file or to shared anonymous memory.
const FILE_PAGE: u64 = 1 << 61;
const SWAPPED: u64 = 1 << 62;
const PRESENT: u64 = 1 << 63;

const fn counts(entry: u64, which: Which) -> bool {
    let there = entry & (PRESENT | SWAPPED) != 0;
    match which {
        Which::Private => there && entry & FILE_PAGE == 0,
        Which::Touched => there,
    }
}

pub(super) fn ranges(pagemap: &File, host: Range<u64>, which: Which) -> io::Result<Vec<Range<u64>>> {
    let page = to_u64(rustix::param::page_size());
    let mut ranges = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut addr = host.start;
    while addr < host.end {
        let wanted = (host.end - addr) / page * ENTRY_BYTES;
        let chunk = match usize::try_from(wanted)
            .ok()
            .and_then(|wanted| buffer.get_mut(..wanted))
        {
            Some(part) => part,
            None => buffer.as_mut_slice(),
        };
        pagemap.read_exact_at(chunk, addr / page * ENTRY_BYTES)?;
        for entry in chunk.as_chunks().0 {
            if counts(u64::from_ne_bytes(*entry), which) {
                push_range(&mut ranges, addr..addr + page);
            }
            addr += page;
        }
    }
    Ok(ranges)
}
