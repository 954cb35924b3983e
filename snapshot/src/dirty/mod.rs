//! Which pages of a mapping are there: after a copy-on-write restore the private ones are the dirty set
//! (docs/adr/0002), and all of them together the working set.

mod pagemap;
#[expect(unsafe_code, reason = "PAGEMAP_SCAN has no safe wrapper")]
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
    pages(memory, Which::Private)
}

/// Finds the pages of guest memory that have been touched since they were mapped, in whatever way: the working set. The
/// kernel maps neighbours of what is read from a file as well (up to 64 KiB at once), and those count.
///
/// Otherwise as [`private_pages`].
///
/// # Errors
/// [`MemoryError::Scan`] if the kernel cannot be asked.
pub fn touched_pages<M: GuestMemoryBackend>(memory: &M) -> Result<PageRuns, MemoryError> {
    pages(memory, Which::Touched)
}

/// Which pages to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// This process's own.
    Private,
    /// All that are there.
    Touched,
}

fn pages<M: GuestMemoryBackend>(memory: &M, which: Which) -> Result<PageRuns, MemoryError> {
    let mut runs = PageRuns::default();
    for region in memory.iter() {
        let host = host_range(region)?;
        let gpa = region.start_addr().0;
        let found = ranges(host.clone(), which).map_err(|source| MemoryError::Scan {
            gpa,
            len_bytes: region.len(),
            source,
        })?;
        for range in found {
            let gpa = GuestAddress(gpa + (range.start - host.start));
            runs.push(PageRun {
                gpa,
                len_bytes: range.end - range.start,
            });
        }
    }
    Ok(runs)
}

/// Pages in a page-aligned range of our own address space: ascending, disjoint, not touching.
pub(crate) fn ranges(host: Range<u64>, which: Which) -> io::Result<Vec<Range<u64>>> {
    // Opened each time: the file stands for the address space of the process that opened it, which after a
    // fork would be another one's.
    let pagemap = File::open("/proc/self/pagemap")?;
    match scan::ranges(&pagemap, host.clone(), which) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOTTY) => {
            pagemap::ranges(&pagemap, host, which)
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
