//! Guest RAM: an address-space reservation that a VM is built on and an image is mapped over.
//!
//! The reservation never moves, so memory slots are set once, when the VM is made, and adopting an image is an
//! `mmap(MAP_FIXED)` that KVM learns of through its MMU notifier. Setting a slot on the wake path would cost ten times that.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use vm_memory::{
    Address, Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    MemoryRegionAddress,
};

use tracing::debug;

use super::image::{ImageRegion, MemoryImage};
use super::layout::{self, PAGE_SIZE};

/// A VM's RAM: `vm-memory` regions over an anonymous, unpopulated reservation.
///
/// Cheap to clone; the mapping lives until the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct GuestRam {
    memory: Arc<GuestMemoryMmap>,
    bytes: u64,
}

/// RAM could not be reserved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// The size makes no sense.
    #[error(
        "reserve {bytes} bytes of guest memory: must be a multiple of {PAGE_SIZE} from {} MiB to {} GiB",
        layout::MEMORY_MIN_BYTES >> 20, layout::MEMORY_MAX_BYTES >> 30
    )]
    Size {
        /// The size asked for.
        bytes: u64,
    },
    /// The kernel refused the mapping.
    #[error("reserve {bytes} bytes of guest memory")]
    Map {
        /// The size asked for.
        bytes: u64,
        /// What was wrong.
        #[source]
        source: vm_memory::mmap::FromRangesError,
    },
}

/// An image could not be mapped over RAM.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapImageError {
    /// The image's regions are not this VM's RAM.
    #[error("map image over guest memory: image has {found}, the VM has {expected}")]
    Layout {
        /// The image's regions.
        found: String,
        /// The VM's RAM.
        expected: String,
    },
    /// A file is too short; touching the missing part would kill the process.
    #[error("map image at GPA {gpa:#x}: file holds {file_bytes} bytes, {needed_bytes} are needed")]
    ShortFile {
        /// Where the region begins.
        gpa: u64,
        /// Length of the file.
        file_bytes: u64,
        /// Offset plus length of the region.
        needed_bytes: u64,
    },
    /// A range to populate is not page aligned or not in RAM.
    #[error("populate GPA {gpa:#x}, {len_bytes} bytes: not whole pages of this VM's memory")]
    Populate {
        /// First address of the range.
        gpa: u64,
        /// Length of the range.
        len_bytes: u64,
    },
    /// A system call failed.
    #[error("{what} GPA {gpa:#x}, {len_bytes} bytes")]
    Call {
        /// What was being done.
        what: &'static str,
        /// First address of the range.
        gpa: u64,
        /// Length of the range.
        len_bytes: u64,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Saved pages could not be written to RAM.
#[derive(Debug, thiserror::Error)]
#[error("write {len_bytes} saved bytes to GPA {gpa:#x}")]
pub struct FillError {
    gpa: u64,
    len_bytes: usize,
    #[source]
    source: vm_memory::GuestMemoryError,
}

impl GuestRam {
    /// Reserves address space for `bytes` of RAM; no page is allocated yet.
    ///
    /// # Errors
    /// The size is out of range, or the process has no address space left.
    pub(crate) fn reserve(bytes: u64) -> Result<Self, ReserveError> {
        let in_range = (layout::MEMORY_MIN_BYTES..=layout::MEMORY_MAX_BYTES).contains(&bytes);
        if !in_range || !bytes.is_multiple_of(PAGE_SIZE) {
            return Err(ReserveError::Size { bytes });
        }
        let ranges: Vec<(GuestAddress, usize)> = layout::ram_ranges(bytes)
            .into_iter()
            .map(|(gpa, len)| Ok((gpa, usize::try_from(len)?)))
            .collect::<Result<_, std::num::TryFromIntError>>()
            .map_err(|_| ReserveError::Size { bytes })?;
        let memory =
            GuestMemoryMmap::from_ranges(&ranges).map_err(|source| ReserveError::Map { bytes, source })?;
        Ok(Self {
            memory: Arc::new(memory),
            bytes,
        })
    }

    /// The memory, for `vm-memory`'s volatile accesses.
    #[must_use]
    pub(crate) fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    pub(crate) fn shared(&self) -> Arc<GuestMemoryMmap> {
        Arc::clone(&self.memory)
    }

    /// Bytes of RAM.
    #[must_use]
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Maps `image` over the whole of RAM, copy on write. What RAM held before is gone.
    ///
    /// Must not be called while a vCPU or a device uses the memory. Constant time; `image.populate` is only checked, and left
    /// to the start of the VM.
    ///
    /// # Errors
    /// The image does not fit this RAM, its file is too short, or the kernel refused. RAM is then in an unknown state
    /// and the VM must be thrown away.
    pub(crate) fn map_image(&self, image: &MemoryImage) -> Result<(), MapImageError> {
        self.check_layout(image)?;
        for region in &image.regions {
            self.map_region(region)?;
        }
        image
            .populate
            .iter()
            .try_for_each(|&(gpa, len_bytes)| self.pages(gpa, len_bytes).map(|_| ()))
    }

    fn check_layout(&self, image: &MemoryImage) -> Result<(), MapImageError> {
        let found = image.regions.iter().map(|region| (region.gpa, region.len_bytes));
        if found.clone().eq(self
            .memory
            .iter()
            .map(|region| (region.start_addr(), region.len())))
        {
            return Ok(());
        }
        let expected = self
            .memory
            .iter()
            .map(|region| (region.start_addr(), region.len()));
        Err(MapImageError::Layout {
            found: describe(found),
            expected: describe(expected),
        })
    }

    fn map_region(&self, region: &ImageRegion) -> Result<(), MapImageError> {
        let fail = |what, source| MapImageError::Call {
            what,
            gpa: region.gpa.raw_value(),
            len_bytes: region.len_bytes,
            source,
        };
        let needed_bytes = end_in_file(&region.file, region.len_bytes)
            .ok_or_else(|| fail("map image at", io::ErrorKind::InvalidInput.into()))?;
        let file_bytes = region
            .file
            .file()
            .metadata()
            .map_err(|e| fail("look at the image of", e))?
            .len();
        if file_bytes < needed_bytes {
            return Err(MapImageError::ShortFile {
                gpa: region.gpa.raw_value(),
                file_bytes,
                needed_bytes,
            });
        }
        let (host, len) = self
            .host_range(region.gpa, region.len_bytes)
            .ok_or_else(|| fail("map image at", io::ErrorKind::InvalidInput.into()))?;
        let offset = libc::off_t::try_from(region.file.start())
            .map_err(|_| fail("map image at", io::ErrorKind::InvalidInput.into()))?;
        // SAFETY: `host..host + len` lies within one region of `self.memory`, a mapping that this object owns, so nothing else
        // is replaced. Guest memory is only ever reached through raw pointers (vm-memory's volatile accesses and KVM), never
        // through Rust references, so its contents may change under them. The file is long enough (checked above).
        let mapped = unsafe {
            libc::mmap(
                host.cast(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE,
                region.file.file().as_raw_fd(),
                offset,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(fail("map image at", io::Error::last_os_error()));
        }
        Ok(())
    }

    /// Writes the pages of a saved VM into RAM that has nothing but zeroes yet. O(bytes).
    ///
    /// # Errors
    /// A run is not in RAM; RAM is then in an unknown state and the VM must be thrown away.
    pub(crate) fn fill<'a>(
        &self,
        runs: impl IntoIterator<Item = (GuestAddress, &'a [u8])>,
    ) -> Result<(), FillError> {
        for (gpa, bytes) in runs {
            self.memory.write_slice(bytes, gpa).map_err(|source| FillError {
                gpa: gpa.0,
                len_bytes: bytes.len(),
                source,
            })?;
        }
        Ok(())
    }

    /// Gives the guest private pages in `ranges` now, so that its first accesses there do not fault one by one. The guest may
    /// run meanwhile. Only a matter of speed: what fails here is left to page faults.
    pub(crate) fn populate(&self, ranges: &[(GuestAddress, u64)]) {
        for &(gpa, len_bytes) in ranges {
            let Ok((host, len)) = self.pages(gpa, len_bytes) else {
                continue;
            };
            // SAFETY: the range is whole pages of one region that this object owns; MADV_POPULATE_WRITE changes no contents, it
            // only faults the pages in.
            let status = unsafe { libc::madvise(host.cast(), len, libc::MADV_POPULATE_WRITE) };
            if status != 0 {
                // Linux before 5.14 does not know this advice, and memory may be short.
                debug!(error = %io::Error::last_os_error(), gpa = gpa.0, len_bytes, "not populated ahead");
                return;
            }
        }
    }

    /// The host's view of a range that must be whole pages of RAM.
    fn pages(&self, gpa: GuestAddress, len_bytes: u64) -> Result<(*mut u8, usize), MapImageError> {
        let aligned = gpa.0.is_multiple_of(PAGE_SIZE) && len_bytes.is_multiple_of(PAGE_SIZE) && len_bytes > 0;
        self.host_range(gpa, len_bytes)
            .filter(|_| aligned)
            .ok_or(MapImageError::Populate {
                gpa: gpa.raw_value(),
                len_bytes,
            })
    }

    fn host_range(&self, gpa: GuestAddress, len_bytes: u64) -> Option<(*mut u8, usize)> {
        let region = self.memory.find_region(gpa)?;
        let offset = gpa.checked_offset_from(region.start_addr())?;
        let end = offset.checked_add(len_bytes)?;
        if end > region.len() {
            return None;
        }
        let host = region.get_host_address(MemoryRegionAddress(offset)).ok()?;
        Some((host, usize::try_from(len_bytes).ok()?))
    }
}

fn end_in_file(file: &FileOffset, len_bytes: u64) -> Option<u64> {
    file.start()
        .checked_add(len_bytes)
        .filter(|_| file.start().is_multiple_of(PAGE_SIZE))
}

fn describe(regions: impl Iterator<Item = (GuestAddress, u64)>) -> String {
    let regions: Vec<_> = regions
        .map(|(gpa, len)| format!("{len:#x} bytes at {:#x}", gpa.raw_value()))
        .collect();
    if regions.is_empty() {
        "nothing".to_owned()
    } else {
        regions.join(" and ")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn image_of(file: File, len_bytes: u64) -> MemoryImage {
        let region = ImageRegion {
            gpa: GuestAddress(0),
            len_bytes,
            file: FileOffset::new(file, 0),
        };
        MemoryImage {
            regions: vec![region],
            populate: Vec::new(),
        }
    }

    fn file_of(bytes: u64, fill: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(fill).unwrap();
        file.set_len(bytes).unwrap();
        file
    }

    #[test]
    fn odd_sizes_are_refused() {
        for bytes in [0, 4096, MIB, 2 * MIB + 1, u64::MAX] {
            assert!(
                matches!(GuestRam::reserve(bytes), Err(ReserveError::Size { .. })),
                "{bytes}"
            );
        }
    }

    #[test]
    fn an_image_replaces_what_was_there_and_is_copied_on_write() {
        let ram = GuestRam::reserve(2 * MIB).unwrap();
        ram.memory().write_obj(1_u8, GuestAddress(0)).unwrap();
        let file = file_of(2 * MIB, b"image");
        let mut image = image_of(file.try_clone().unwrap(), 2 * MIB);
        image.populate = vec![(GuestAddress(0), 8192)];
        ram.map_image(&image).unwrap();
        assert_eq!(
            ram.memory().read_obj::<[u8; 5]>(GuestAddress(0)).unwrap(),
            *b"image"
        );
        ram.memory().write_obj(*b"wrote", GuestAddress(0)).unwrap();
        let again = GuestRam::reserve(2 * MIB).unwrap();
        again.map_image(&image_of(file, 2 * MIB)).unwrap();
        assert_eq!(
            again.memory().read_obj::<[u8; 5]>(GuestAddress(0)).unwrap(),
            *b"image"
        );
    }

    #[test]
    fn an_image_of_another_size_is_refused_with_both_sizes() {
        let ram = GuestRam::reserve(2 * MIB).unwrap();
        let error = ram.map_image(&image_of(file_of(MIB, b""), MIB)).unwrap_err();
        assert!(error.to_string().contains("0x100000 bytes at 0x0"), "{error}");
        assert!(error.to_string().contains("0x200000 bytes at 0x0"), "{error}");
    }

    #[test]
    fn a_file_that_is_too_short_is_refused_before_it_can_kill() {
        let ram = GuestRam::reserve(2 * MIB).unwrap();
        let error = ram
            .map_image(&image_of(file_of(2 * MIB - 1, b""), 2 * MIB))
            .unwrap_err();
        assert!(matches!(error, MapImageError::ShortFile { .. }), "{error}");
    }

    #[test]
    fn populating_outside_memory_is_refused() {
        let ram = GuestRam::reserve(2 * MIB).unwrap();
        for (gpa, len) in [
            (2 * MIB, 4096),
            (2 * MIB - 4096, 8192),
            (1, 4096),
            (0, 1),
            (0, 0),
            (4096, u64::MAX - 4095),
        ] {
            let error = ram.pages(GuestAddress(gpa), len).unwrap_err();
            assert!(matches!(error, MapImageError::Populate { .. }), "{error}");
        }
    }
}
