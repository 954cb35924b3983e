use std::ops::Range;
use std::path::Path;

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryRegion};

use super::error::RamError;
use crate::format::place_regions;
use crate::image::ImageRegion;
use crate::int::to_u64;
use crate::load::Snapshot;
use crate::memory::{LiveMemory, MemoryError, PageSource};
use crate::save::{SaveError, SaveOptions, Saved, check_limits, sweep, write_snapshot};
use crate::section::Section;

/// A small guest parked in RAM as the bytes of its pages and nothing else: to be copied into memory that has been touched
/// ahead, which is quicker than any mapping while it is little.
///
/// Mapped memory costs a waking guest a page fault for each page; pages that are there already cost none.
#[derive(Debug, Clone)]
pub struct CompactImage {
    regions: Vec<ImageRegion>,
    /// Ascending by GPA, disjoint.
    runs: Vec<Run>,
}

#[derive(Debug, Clone)]
struct Run {
    gpa: u64,
    bytes: Box<[u8]>,
}

/// Why copying ended early.
enum Stop {
    TooLarge,
    Memory(MemoryError),
}

impl From<MemoryError> for Stop {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}

impl CompactImage {
    /// Copies guest memory, whatever backs it; `None` if more than `max_bytes` of it are not zero. The guest has to be paused.
    /// Absent pages are not touched. O(bytes present, up to the first that are too many).
    ///
    /// # Errors
    /// [`RamError`] says which step failed.
    pub fn capture<M: GuestMemoryBackend>(memory: &M, max_bytes: u64) -> Result<Option<Self>, RamError> {
        let regions = || memory.iter().map(|region| (region.start_addr(), region.len()));
        check_limits(regions(), &[])?;
        let mut image = Self {
            regions: place_regions(0, regions()),
            runs: Vec::new(),
        };
        let mut total_bytes = 0;
        let copied = sweep(
            &LiveMemory(memory),
            &image.regions,
            |_| {},
            |_, gpa, bytes| {
                total_bytes += to_u64(bytes.len());
                if total_bytes > max_bytes {
                    return Err(Stop::TooLarge);
                }
                image.runs.push(Run {
                    gpa,
                    bytes: bytes.into(),
                });
                Ok(())
            },
        );
        match copied {
            Ok(()) => Ok(Some(image)),
            Err(Stop::TooLarge) => Ok(None),
            Err(Stop::Memory(error)) => Err(error.into()),
        }
    }

    /// Copies a snapshot's memory and verifies it on the way; `None` if it has more than `max_bytes` of data.
    ///
    /// # Errors
    /// [`RamError::Load`] if the snapshot's memory is damaged.
    pub fn from_snapshot(snapshot: &Snapshot, max_bytes: u64) -> Result<Option<Self>, RamError> {
        if snapshot.data_pages().total_bytes() > max_bytes {
            return Ok(None);
        }
        let regions = snapshot
            .header()
            .regions
            .iter()
            .map(|region| (region.gpa, region.len_bytes));
        let mut image = Self {
            regions: place_regions(0, regions),
            runs: Vec::new(),
        };
        snapshot.each_run::<RamError>(|gpa, bytes| {
            image.runs.push(Run {
                gpa,
                bytes: bytes.into(),
            });
            Ok(())
        })?;
        Ok(Some(image))
    }

    /// The bytes that are not zero, to a page: guest address and bytes, ascending.
    pub fn runs(&self) -> impl Iterator<Item = (GuestAddress, &[u8])> {
        self.runs.iter().map(|run| (GuestAddress(run.gpa), &*run.bytes))
    }

    /// Bytes of RAM that the image takes.
    pub fn resident_bytes(&self) -> u64 {
        self.runs.iter().map(|run| to_u64(run.bytes.len())).sum()
    }

    /// Saves the image as a snapshot file, as [`save`](crate::save()) does with guest memory.
    ///
    /// # Errors
    /// [`SaveError`] says which step failed. No file is left behind then.
    pub fn persist(
        &self,
        path: impl AsRef<Path>,
        sections: &[Section],
        options: SaveOptions<'_>,
    ) -> Result<Saved, SaveError> {
        let regions = self.regions.iter().map(|region| (region.gpa, region.len_bytes));
        write_snapshot(path.as_ref(), self, regions, sections, options)
    }

    /// The run that holds `gpa`.
    fn run_at(&self, gpa: u64) -> Option<&Run> {
        let after = self.runs.partition_point(|run| run.gpa <= gpa);
        self.runs.get(after.checked_sub(1)?)
    }
}

impl PageSource for CompactImage {
    fn candidates(&self, gpa: GuestAddress) -> Result<Vec<Range<u64>>, MemoryError> {
        let end = self
            .regions
            .iter()
            .find(|region| region.gpa == gpa)
            .map_or(gpa.0, ImageRegion::end);
        let of_region = self.runs.iter().filter(|run| (gpa.0..end).contains(&run.gpa));
        let mut ranges = Vec::new();
        for run in of_region {
            crate::dirty::push_range(&mut ranges, run.gpa..run.gpa + to_u64(run.bytes.len()));
        }
        Ok(ranges)
    }

    fn read(&self, gpa: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let mut at = gpa;
        let mut rest = bytes;
        while !rest.is_empty() {
            let part = self.run_at(at).and_then(|run| {
                let offset = crate::int::to_usize(at - run.gpa);
                run.bytes.get(offset..).filter(|part| !part.is_empty())
            });
            let part = part.ok_or(MemoryError::Access {
                gpa: at,
                len_bytes: to_u64(rest.len()),
                source: GuestMemoryError::InvalidGuestAddress(GuestAddress(at)),
            })?;
            let len = part.len().min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(part.get(..len).unwrap_or_default());
            at += to_u64(len);
            rest = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestMemoryMmap};

    use super::*;
    use crate::id::SnapshotId;

    const MIB: usize = 1 << 20;

    fn guest(pages: &[u64]) -> GuestMemoryMmap {
        let memory =
            GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 8 * MIB), (GuestAddress(1 << 32), MIB)])
                .unwrap();
        for &page in pages {
            memory.write_obj(page + 1, GuestAddress(page * 4096)).unwrap();
        }
        memory
    }

    #[test]
    fn what_is_captured_is_what_a_snapshot_of_it_holds() {
        let memory = guest(&[0, 1, 700, 1 << 20]);
        memory.write_obj(0_u64, GuestAddress(0x5000)).unwrap();
        let image = CompactImage::capture(&memory, 1 << 20).unwrap().unwrap();
        assert_eq!(image.resident_bytes(), 4 * 4096, "the zero page is left out");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("compact.snap");
        image
            .persist(&path, &[], SaveOptions::new(SnapshotId([1; 16]), 0))
            .unwrap();
        let snapshot = Snapshot::open(&path).unwrap();
        snapshot.verify_memory().unwrap();
        let again = CompactImage::from_snapshot(&snapshot, 1 << 20).unwrap().unwrap();
        let bytes = |image: &CompactImage| -> Vec<(u64, u8)> {
            let each = |(gpa, bytes): (GuestAddress, &[u8])| {
                bytes
                    .iter()
                    .enumerate()
                    .map(|(i, byte)| (gpa.0 + i as u64, *byte))
                    .collect::<Vec<_>>()
            };
            image.runs().flat_map(each).collect()
        };
        assert_eq!(bytes(&again), bytes(&image));
        assert_eq!(
            snapshot
                .map_cow()
                .unwrap()
                .read_obj::<u64>(GuestAddress(1 << 32))
                .unwrap(),
            (1 << 20) + 1
        );
    }

    #[test]
    fn more_than_the_limit_is_no_compact_image() {
        let memory = guest(&[1, 2, 3]);
        assert!(CompactImage::capture(&memory, 2 * 4096).unwrap().is_none());
        assert!(CompactImage::capture(&memory, 3 * 4096).unwrap().is_some());
    }
}
