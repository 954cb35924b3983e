use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, memfd_create};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::absorb::COPY_BYTES;
use super::error::{Poisoned, RamError};
use crate::format::place_regions;
use crate::image::{ImageRegion, MemoryImage, region_at};
use crate::int::to_u64;
use crate::load::Snapshot;
use crate::memory::{LiveMemory, PageSource};
use crate::save::{
    Content, SaveError, SaveOptions, Saved, check_limits, each_chunk, runs, sweep, write_snapshot,
};
use crate::section::Section;

/// A guest parked in RAM: its memory in a memfd, holes for its zero pages, and its sections beside it.
///
/// One image is the state of one guest: [`absorb`](Self::absorb) changes it in place, which every mapping of it
/// sees. Clones therefore map a [`Snapshot`], or each have an image of their own.
#[derive(Debug)]
pub struct RamImage {
    pub(super) image: MemoryImage,
    pub(super) sections: Vec<Section>,
    pub(super) condition: Condition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Whole,
    Poisoned,
}

impl RamImage {
    /// Copies a snapshot into RAM and verifies its memory on the way. O(bytes of data), not of memory.
    ///
    /// # Errors
    /// [`RamError::Load`] if the snapshot's memory is damaged; [`RamError::Memfd`] if there is no memory left.
    pub fn from_snapshot(snapshot: &Snapshot) -> Result<Self, RamError> {
        let regions = snapshot
            .header()
            .regions
            .iter()
            .map(|region| (region.gpa, region.len_bytes));
        let image = empty_image(regions)?;
        snapshot.each_run(|gpa, bytes| {
            let region = region_at(&image.regions, gpa).expect("the image has the snapshot's regions");
            image
                .file
                .write_all_at(bytes, region.file_offset_of(gpa))
                .map_err(|source| memfd("fill it", source))
        })?;
        Ok(Self {
            image,
            sections: snapshot.sections().to_vec(),
            condition: Condition::Whole,
        })
    }

    /// Copies guest memory, whatever backs it, and takes the sections that go with it. The guest has to be
    /// paused. Absent pages are not touched. O(bytes present).
    ///
    /// # Errors
    /// [`RamError`] says which step failed.
    pub fn capture<M: GuestMemoryBackend>(memory: &M, sections: Vec<Section>) -> Result<Self, RamError> {
        let regions = || memory.iter().map(|region| (region.start_addr(), region.len()));
        check_limits(regions(), &sections)?;
        let image = empty_image(regions())?;
        sweep(
            &LiveMemory(memory),
            &image.regions,
            |_| {},
            |region, gpa, bytes| {
                let offset = region.file_offset_of(gpa);
                image
                    .file
                    .write_all_at(bytes, offset)
                    .map_err(|source| memfd("fill it", source))
            },
        )?;
        Ok(Self {
            image,
            sections,
            condition: Condition::Whole,
        })
    }

    /// The memory, to be mapped by whoever has the address space for it. It must be mapped privately, and the
    /// file not be written to: it is the saved state.
    ///
    /// # Errors
    /// [`Poisoned`].
    pub fn memory(&self) -> Result<MemoryImage, Poisoned> {
        self.whole().map(|this| this.image.clone())
    }

    /// Maps the memory copy-on-write.
    ///
    /// # Errors
    /// [`RamError::Poisoned`], or [`RamError::Map`] if the kernel refuses a mapping.
    pub fn map_cow(&self) -> Result<GuestMemoryMmap, RamError> {
        Ok(self.whole()?.image.map_cow()?)
    }

    /// The sections that go with the memory.
    ///
    /// # Errors
    /// [`Poisoned`].
    pub fn sections(&self) -> Result<&[Section], Poisoned> {
        self.whole().map(|this| this.sections.as_slice())
    }

    /// Bytes of RAM (or swap) that the image takes: pages of the memfd and bytes of the sections. O(sections).
    ///
    /// # Errors
    /// [`RamError::Memfd`] if the memfd cannot be examined.
    pub fn resident_bytes(&self) -> Result<u64, RamError> {
        let metadata = self
            .image
            .file
            .metadata()
            .map_err(|source| memfd("examine it", source))?;
        let sections: usize = self.sections.iter().map(|section| section.bytes.len()).sum();
        // `st_blocks` counts 512 bytes whatever the file system.
        Ok(metadata.blocks() * 512 + to_u64(sections))
    }

    /// Whether an [`absorb`](Self::absorb) failed halfway, so that the image is of no use any more.
    pub fn is_poisoned(&self) -> bool {
        self.condition == Condition::Poisoned
    }

    /// Saves the image as a snapshot file, as [`save`](crate::save) does with guest memory. O(bytes resident).
    ///
    /// # Errors
    /// [`SaveError`] says which step failed. No file is left behind then.
    pub fn persist(&self, path: impl AsRef<Path>, options: SaveOptions<'_>) -> Result<Saved, SaveError> {
        self.persist_with(path, &self.sections, options)
    }

    /// Like [`persist`](Self::persist), with other sections: for a caller that keeps the state itself.
    ///
    /// # Errors
    /// As [`persist`](Self::persist).
    pub fn persist_with(
        &self,
        path: impl AsRef<Path>,
        sections: &[Section],
        options: SaveOptions<'_>,
    ) -> Result<Saved, SaveError> {
        let Self { image, .. } = self.whole()?;
        let regions = image.regions.iter().map(|region| (region.gpa, region.len_bytes));
        write_snapshot(path.as_ref(), image, regions, sections, options)
    }

    /// Gives back the pages that hold nothing but zeroes, and says how many bytes that were. O(bytes resident).
    ///
    /// A guest that reads a hole makes the kernel fill it, so an image grows by what its guest has read of its
    /// unused memory. Mappings of the image see no difference, but fault again.
    ///
    /// # Errors
    /// [`RamError`] says which step failed; the image's content is the same all the time.
    pub fn trim(&mut self) -> Result<u64, RamError> {
        let Self { image, .. } = self.whole()?;
        let page = rustix::param::page_size();
        let mut freed = 0;
        for region in &image.regions {
            each_chunk::<RamError>(image, &image.candidates(region.gpa)?, COPY_BYTES, |gpa, bytes| {
                for (offset, content, run) in runs(bytes, page) {
                    if content == Content::Zero {
                        let file_offset = region.file_offset_of(gpa + to_u64(offset));
                        punch(&image.file, file_offset, to_u64(run.len()))
                            .map_err(|source| memfd("punch a hole", source))?;
                        freed += to_u64(run.len());
                    }
                }
                Ok(())
            })?;
        }
        Ok(freed)
    }

    pub(super) fn whole(&self) -> Result<&Self, Poisoned> {
        match self.condition {
            Condition::Whole => Ok(self),
            Condition::Poisoned => Err(Poisoned),
        }
    }
}

fn memfd(what: &'static str, source: io::Error) -> RamError {
    RamError::Memfd { what, source }
}

/// A memfd of the right length without any page.
fn empty_image(regions: impl Iterator<Item = (GuestAddress, u64)>) -> Result<MemoryImage, RamError> {
    let regions = place_regions(0, regions);
    let file = memfd_create("snapshot", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(|errno| memfd("create it", errno.into()))?;
    let file = File::from(file);
    let len = regions.last().map_or(0, ImageRegion::file_end);
    file.set_len(len)
        .map_err(|source| memfd("set its length", source))?;
    // Whoever gets the file cannot make a mapping of it end in a SIGBUS.
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)
        .map_err(|errno| memfd("seal its length", errno.into()))?;
    Ok(MemoryImage {
        file: Arc::new(file),
        regions,
    })
}

/// Makes a range of the file read as zeroes and take no memory.
pub(super) fn punch(file: &File, offset: u64, len_bytes: u64) -> io::Result<()> {
    Ok(fallocate(
        file,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        offset,
        len_bytes,
    )?)
}
