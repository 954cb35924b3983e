use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::error::AbsorbError;
use super::image::{Condition, RamImage, punch};
use crate::dirty::{private_pages, touched_pages};
use crate::image::ImageRegion;
use crate::int::to_u64;
use crate::memory::{Backing, LiveMemory, MemoryError, Sharing, host_range, mappings};
use crate::page_runs::PageRuns;
use crate::save::{Content, check_limits, each_chunk};
use crate::section::Section;

/// Copied at a time: it stays in the cache between being read, looked at and written.
pub(super) const COPY_BYTES: u64 = 128 << 10;

/// What [`RamImage::absorb`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Absorbed {
    /// Pages whose content differs from what the guest was restored with.
    pub dirty_pages: u64,
    /// Of these, pages that are zero now and take no memory any more.
    pub zero_pages: u64,
    /// What the guest has touched, dirty or not: its working set, to be populated ahead at its next restore. What was
    /// populated counts, needed or not, so a caller should leave populating out now and then to learn anew.
    pub touched: PageRuns,
}

/// What became of a page since the guest was restored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    Data,
    Zero,
}

impl Change {
    fn of(old: &[u8], new: &[u8]) -> Self {
        match Content::of(new) {
            _ if old == new => Self::None,
            Content::Data => Self::Data,
            Content::Zero => Self::Zero,
        }
    }
}

/// Counts of changed bytes.
#[derive(Default)]
struct Changed {
    dirty_bytes: u64,
    zero_bytes: u64,
}

impl RamImage {
    /// Takes back what a guest has changed since it was restored from this image: its changed pages go into the
    /// memfd in place, those that became zero become holes, and the sections are replaced.
    ///
    /// `memory` must be a `MAP_PRIVATE` mapping of this very image and nothing else, made by
    /// [`map_cow`](Self::map_cow) or by a VMM over a reservation of its own; this is checked. The guest has to be
    /// paused, and the mapping is to be dropped afterwards: its private pages hide the image. Pages that were
    /// populated for writing count as written. O(dirty bytes + mappings of the process), whatever the size of the
    /// guest. Needs `/proc`.
    ///
    /// # Errors
    /// [`AbsorbError`]. If copying had begun the image is poisoned then, and every later use says so.
    pub fn absorb<M: GuestMemoryBackend>(
        &mut self,
        memory: &M,
        sections: Vec<Section>,
    ) -> Result<Absorbed, AbsorbError> {
        self.whole()?;
        check_limits(
            memory.iter().map(|region| (region.start_addr(), region.len())),
            &sections,
        )?;
        self.check_mapped(memory)?;
        let private = private_pages(memory)?;
        let touched = touched_pages(memory)?;

        self.condition = Condition::Poisoned;
        let changed = self.copy_back(memory, &private)?;
        self.sections = sections;
        self.condition = Condition::Whole;

        let page = to_u64(rustix::param::page_size());
        Ok(Absorbed {
            dirty_pages: changed.dirty_bytes / page,
            zero_pages: changed.zero_bytes / page,
            touched,
        })
    }

    /// Whether every byte of `memory` is mapped privately from where it is in this image.
    fn check_mapped<M: GuestMemoryBackend>(&self, memory: &M) -> Result<(), AbsorbError> {
        let metadata = self.image.file.metadata().map_err(AbsorbError::Examine)?;
        let (dev, ino) = (metadata.dev(), metadata.ino());
        let mut regions = self.image.regions.iter();
        for (index, mapped) in memory.iter().enumerate() {
            let region = regions
                .next()
                .filter(|region| (region.gpa, region.len_bytes) == (mapped.start_addr(), mapped.len()))
                .ok_or(AbsorbError::Regions { index })?;
            let host = host_range(mapped)?;
            let vmas = mappings(host.clone()).map_err(|source| MemoryError::Scan {
                gpa: region.gpa.0,
                len_bytes: region.len_bytes,
                source,
            })?;
            for vma in vmas {
                let distance = vma.host.start - host.start;
                let offset = region.file_offset + distance;
                if vma.backing
                    != (Backing::File {
                        dev,
                        ino,
                        offset,
                        sharing: Sharing::Private,
                    })
                {
                    return Err(AbsorbError::NotMapped {
                        gpa: region.gpa.0 + distance,
                    });
                }
            }
        }
        match regions.next() {
            None => Ok(()),
            Some(_) => Err(AbsorbError::Regions {
                index: memory.num_regions(),
            }),
        }
    }

    /// Copies those of the private pages that have changed into the memfd. Comparing costs less than writing, and pages
    /// that were populated ahead mostly have not.
    fn copy_back<M: GuestMemoryBackend>(
        &self,
        memory: &M,
        private: &PageRuns,
    ) -> Result<Changed, AbsorbError> {
        let page = rustix::param::page_size();
        let mut changed = Changed::default();
        let mut buffer = Vec::new();
        for region in &self.image.regions {
            let ranges = within(private, region);
            each_chunk::<AbsorbError>(&LiveMemory(memory), &ranges, COPY_BYTES, |gpa, new| {
                buffer.resize(new.len(), 0);
                self.image
                    .file
                    .read_exact_at(&mut buffer, region.file_offset_of(gpa))
                    .map_err(AbsorbError::Examine)?;
                for (offset, change, run) in changes(&buffer, new, page) {
                    let (gpa, len_bytes) = (gpa + to_u64(offset), to_u64(run.len()));
                    let file_offset = region.file_offset_of(gpa);
                    match change {
                        Change::None => continue,
                        Change::Data => self.image.file.write_all_at(run, file_offset),
                        Change::Zero => {
                            changed.zero_bytes += len_bytes;
                            punch(&self.image.file, file_offset, len_bytes)
                        }
                    }
                    .map_err(|source| AbsorbError::Write {
                        gpa,
                        len_bytes,
                        source,
                    })?;
                    changed.dirty_bytes += len_bytes;
                }
                Ok(())
            })?;
        }
        Ok(changed)
    }
}

/// Cuts `new` into runs of pages that have changed from `old` in the same way: offset, change, bytes.
fn changes<'a>(old: &'a [u8], new: &'a [u8], page: usize) -> impl Iterator<Item = (usize, Change, &'a [u8])> {
    let mut pages = old
        .chunks(page)
        .zip(new.chunks(page))
        .map(|(old, new)| Change::of(old, new))
        .peekable();
    let mut rest = new;
    std::iter::from_fn(move || {
        let change = pages.next()?;
        let mut len = page;
        while pages.next_if_eq(&change).is_some() {
            len += page;
        }
        let offset = new.len() - rest.len();
        let (run, behind) = rest.split_at(len.min(rest.len()));
        rest = behind;
        Some((offset, change, run))
    })
}

/// The part of `pages` in `region`. Runs may go on across regions that touch.
fn within(pages: &PageRuns, region: &ImageRegion) -> Vec<Range<u64>> {
    let clip =
        |gpa: GuestAddress, len_bytes: u64| gpa.0.max(region.gpa.0)..(gpa.0 + len_bytes).min(region.end());
    pages
        .iter()
        .map(|run| clip(run.gpa, run.len_bytes))
        .filter(|range| range.start < range.end)
        .collect()
}

#[cfg(test)]
mod tests;
