use std::ops::Range;
use std::os::unix::fs::FileExt;

use vm_memory::{GuestAddress, GuestMemoryError};

use super::MemoryError;
use super::extents::{data_extents, rebase};
use crate::image::{ImageRegion, MemoryImage, region_at};
use crate::int::to_u64;

/// Guest memory that can be saved: live in this process, or an image in a file.
pub(crate) trait PageSource {
    /// Guest addresses that may hold anything but zeroes in the region that begins at `gpa`: ascending, whole
    /// pages, not touching.
    fn candidates(&self, gpa: GuestAddress) -> Result<Vec<Range<u64>>, MemoryError>;

    /// Copies the bytes at `gpa`, all of them in one region.
    fn read(&self, gpa: u64, bytes: &mut [u8]) -> Result<(), MemoryError>;
}

impl MemoryImage {
    fn region_at(&self, gpa: u64) -> Result<&ImageRegion, MemoryError> {
        region_at(&self.regions, gpa).ok_or(MemoryError::Access {
            gpa,
            len_bytes: 0,
            source: GuestMemoryError::InvalidGuestAddress(GuestAddress(gpa)),
        })
    }
}

impl PageSource for MemoryImage {
    fn candidates(&self, gpa: GuestAddress) -> Result<Vec<Range<u64>>, MemoryError> {
        let region = self.region_at(gpa.0)?;
        let page = to_u64(rustix::param::page_size());
        let extents =
            data_extents(&self.file, region.file_offset..region.file_end(), page).map_err(|source| {
                MemoryError::Scan {
                    gpa: region.gpa.0,
                    len_bytes: region.len_bytes,
                    source,
                }
            })?;
        Ok(rebase(extents, region.file_offset, region.gpa.0).collect())
    }

    fn read(&self, gpa: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let file_offset = self.region_at(gpa)?.file_offset_of(gpa);
        self.file
            .read_exact_at(bytes, file_offset)
            .map_err(|source| MemoryError::Read {
                gpa,
                len_bytes: to_u64(bytes.len()),
                file_offset,
                source,
            })
    }
}
