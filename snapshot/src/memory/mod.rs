//! Guest memory that is mapped in this process: which pages may hold data, and how to read them.

mod extents;
mod live;
mod source;
mod vma;

use std::io;
use std::ops::Range;

use vm_memory::{GuestMemoryError, GuestMemoryRegion, MemoryRegionAddress};

pub(crate) use extents::data_extents;
pub(crate) use live::LiveMemory;
pub(crate) use source::PageSource;
pub(crate) use vma::{Backing, Sharing, mappings};

use crate::int::to_u64;

/// Why guest memory mapped in this process could not be examined or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The kernel did not say which pages are there.
    #[error("find the pages present at GPA {gpa:#x}, {len_bytes:#x} bytes")]
    Scan {
        /// First guest address of the range.
        gpa: u64,
        /// Bytes in the range.
        len_bytes: u64,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The file behind the memory could not be read.
    #[error("read memory of GPA {gpa:#x}, {len_bytes:#x} bytes, at file offset {file_offset:#x}")]
    Read {
        /// First guest address of the range.
        gpa: u64,
        /// Bytes in the range.
        len_bytes: u64,
        /// Where the range lies in the file.
        file_offset: u64,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The memory's own type refused the access.
    #[error("access guest memory at GPA {gpa:#x}, {len_bytes:#x} bytes")]
    Access {
        /// First guest address of the range.
        gpa: u64,
        /// Bytes in the range.
        len_bytes: u64,
        /// The reason.
        source: GuestMemoryError,
    },
}

/// Host addresses of a region.
pub(crate) fn host_range<R: GuestMemoryRegion>(region: &R) -> Result<Range<u64>, MemoryError> {
    let host = region
        .get_host_address(MemoryRegionAddress(0))
        .map_err(|source| MemoryError::Access {
            gpa: region.start_addr().0,
            len_bytes: region.len(),
            source,
        })?;
    let start = to_u64(host.addr());
    Ok(start..start + region.len())
}
