//! The private pages of a mapping: after a copy-on-write restore they are the dirty set (docs/adr/0002).

mod pagemap;
mod scan;

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::io::Errno;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use crate::memory::{MemoryError, host_range};
use crate::page_runs::{PageRun, PageRuns};

/// Finds the pages of guest memory that are this process's own: written since they were mapped, or, in
/// anonymous memory, ever touched. In a `MAP_PRIVATE` mapping of a file these are exactly the pages that
/// may differ from the file.
///
/// Pages in swap count; pages of the file that were only read do not. O(touched page tables), some 10 µs per
/// GiB of untouched memory; on kernels before 6.7, which lack `PAGEMAP_SCAN`, O(pages). Needs `/proc`. Pages
/// that the guest touches meanwhile may or may not be found, so it has to be paused.
///
/// # Errors
/// [`MemoryError::Scan`] if the kernel cannot be asked.
pub fn private_pages<M: GuestMemoryBackend>(memory: &M) -> Result<PageRuns, MemoryError> {
    let mut runs = PageRuns::default();
    for region in memory.iter() {
        let host = host_range(region)?;
        let gpa = region.start_addr().0;
        let private = private_ranges(host.clone()).map_err(|source| MemoryError::Scan {
            gpa,
            len_bytes: region.len(),
            source,
        })?;
        for range in private {
            let gpa = GuestAddress(gpa + (range.start - host.start));
            runs.push(PageRun {
                gpa,
                len_bytes: range.end - range.start,
            });
        }
    }
    Ok(runs)
}

/// Private pages in a page-aligned range of our own address space: ascending, disjoint, not touching.
pub(crate) fn private_ranges(host: Range<u64>) -> io::Result<Vec<Range<u64>>> {
    // Opened each time: the file stands for the address space of the process that opened it, which after a
    // fork would be another one's.
    let pagemap = File::open("/proc/self/pagemap")?;
    match scan::private_ranges(&pagemap, host.clone()) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOTTY) => {
            pagemap::private_ranges(&pagemap, host)
        }
        result => result,
    }
}

/// Appends a range that begins at or after the end of the last one, and joins the two if they touch.
pub(crate) fn push_range(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

#[cfg(test)]
mod tests;
