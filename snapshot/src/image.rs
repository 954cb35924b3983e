use std::fs::File;
use std::sync::Arc;

use vm_memory::mmap::MmapRegionError;
use vm_memory::{
    FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionCollectionError, GuestRegionMmap, MmapRegion,
};

use crate::int::to_usize;

/// A range of guest memory and where it lies in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageRegion {
    /// First guest address, page aligned.
    pub gpa: GuestAddress,
    /// Bytes, a positive multiple of the page size.
    pub len_bytes: u64,
    /// Where the region lies in the file, 2 MiB aligned: it can be mapped in place.
    pub file_offset: u64,
}

impl ImageRegion {
    /// First guest address behind the region.
    pub(crate) fn end(&self) -> u64 {
        self.gpa.0 + self.len_bytes
    }

    /// First file offset behind the region.
    pub(crate) fn file_end(&self) -> u64 {
        self.file_offset + self.len_bytes
    }

    /// Where the byte at `gpa`, which is in the region, lies in the file.
    pub(crate) fn file_offset_of(&self, gpa: u64) -> u64 {
        self.file_offset + (gpa - self.gpa.0)
    }
}

/// The region that has the byte at `gpa`. There are at most eight to look through.
pub(crate) fn region_at(regions: &[ImageRegion], gpa: u64) -> Option<&ImageRegion> {
    regions
        .iter()
        .find(|region| (region.gpa.0..region.end()).contains(&gpa))
}

/// Guest memory in a file, ready to be mapped: by [`map_cow`](Self::map_cow), or region by region by a VMM
/// that has its own address space laid out (`mmap` with `MAP_PRIVATE | MAP_FIXED`).
///
/// Absent pages are holes of the file and read as zeroes. Cloning is cheap and shares the file.
#[derive(Debug, Clone)]
pub struct MemoryImage {
    /// What to map. A snapshot's file is open for reading only, which `MAP_PRIVATE` is content with.
    pub file: Arc<File>,
    /// Ascending by GPA, disjoint.
    pub regions: Vec<ImageRegion>,
}

/// Why a [`MemoryImage`] could not be mapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// The kernel refused the mapping.
    #[error("map GPA {gpa:#x}, {len_bytes:#x} bytes, from file offset {file_offset:#x}")]
    Mmap {
        /// First guest address of the region.
        gpa: u64,
        /// Bytes in the region.
        len_bytes: u64,
        /// Where the region lies in the file.
        file_offset: u64,
        /// The kernel's reason.
        source: MmapRegionError,
    },
    /// The regions cannot be the memory of one guest.
    #[error("collect the mapped regions into guest memory")]
    Regions(#[from] GuestRegionCollectionError),
}

impl MemoryImage {
    /// Maps every region copy-on-write: what is written stays in this mapping. O(regions); no page is read.
    ///
    /// # Errors
    /// [`MapError`] if the kernel refuses a mapping.
    pub fn map_cow(&self) -> Result<GuestMemoryMmap, MapError> {
        let regions: Result<Vec<_>, _> = self
            .regions
            .iter()
            .map(|region| self.map_region(region))
            .collect();
        Ok(GuestMemoryMmap::from_regions(regions?)?)
    }

    fn map_region(&self, region: &ImageRegion) -> Result<GuestRegionMmap, MapError> {
        let mapping = MmapRegion::build(
            Some(FileOffset::from_arc(Arc::clone(&self.file), region.file_offset)),
            to_usize(region.len_bytes),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_NORESERVE,
        )
        .map_err(|source| MapError::Mmap {
            gpa: region.gpa.0,
            len_bytes: region.len_bytes,
            file_offset: region.file_offset,
            source,
        })?;
        GuestRegionMmap::new(mapping, region.gpa)
            .ok_or(MapError::Regions(GuestRegionCollectionError::MemoryRegionOverlap))
    }
}
