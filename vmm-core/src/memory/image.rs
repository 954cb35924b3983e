//! What to map over guest memory: files (or memfds) that hold it.

use std::fs::File;
use std::sync::Arc;

use vm_memory::{FileOffset, GuestAddress};

/// Guest memory that lies in files and can be mapped in place, copy on write.
///
/// The files must not change or shrink while a VM runs on them: a changed page shows through wherever the guest has not
/// written, and touching a page past the end of a file kills the process (`SIGBUS`). Immutable snapshot files and sealed
/// memfds are safe.
#[derive(Debug, Clone, Default)]
pub struct MemoryImage {
    /// The regions; together they must cover the VM's RAM exactly.
    pub regions: Vec<ImageRegion>,
    /// GPA ranges (first byte, bytes) that will be touched soon, as the last run showed: [`Vm::start`](crate::Vm::start) gives
    /// them private pages in a few calls while the guest begins to run, instead of by one page fault each.
    pub populate: Vec<(GuestAddress, u64)>,
}

impl MemoryImage {
    /// Memory that lies in one file: for each region its first GPA, its length and its first byte in the file, as whoever keeps
    /// such files knows them. Nothing is populated ahead.
    #[must_use]
    pub fn of_file(file: &Arc<File>, regions: impl IntoIterator<Item = (GuestAddress, u64, u64)>) -> Self {
        let region = |(gpa, len_bytes, offset)| ImageRegion {
            gpa,
            len_bytes,
            file: FileOffset::from_arc(Arc::clone(file), offset),
        };
        Self {
            regions: regions.into_iter().map(region).collect(),
            populate: Vec::new(),
        }
    }

    /// Populates `ranges` at the first start; see [`populate`](Self::populate).
    #[must_use]
    pub fn populated(mut self, ranges: Vec<(GuestAddress, u64)>) -> Self {
        self.populate = ranges;
        self
    }
}

/// One range of guest memory and the part of a file that holds it.
#[derive(Debug, Clone)]
pub struct ImageRegion {
    /// First guest physical address; page aligned.
    pub gpa: GuestAddress,
    /// Length in bytes; a whole number of pages.
    pub len_bytes: u64,
    /// The file and the page-aligned offset of the region's first byte in it.
    pub file: FileOffset,
}
