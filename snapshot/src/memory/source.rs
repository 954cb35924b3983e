use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::MemoryError;
use super::extents::{data_extents, rebase};
use crate::image::{ImageRegion, MemoryImage};
use crate::int::to_u64;

/// Guest memory that can be saved: live in this process, or an image in a file.
pub(crate) trait PageSource {
    /// Guest addresses in `region` that may hold anything but zeroes: ascending, whole pages, not touching.
    fn candidates(&self, region: &ImageRegion) -> Result<Vec<Range<u64>>, MemoryError>;

    /// Copies the bytes at `gpa`, all of them in `region`.
    fn read(&self, region: &ImageRegion, gpa: u64, bytes: &mut [u8]) -> Result<(), MemoryError>;
}

impl PageSource for MemoryImage {
    fn candidates(&self, region: &ImageRegion) -> Result<Vec<Range<u64>>, MemoryError> {
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

    fn read(&self, region: &ImageRegion, gpa: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let file_offset = region.file_offset_of(gpa);
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
