use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryRegion, MemoryRegionAddress};

use super::extents::{data_extents, rebase, union};
use super::source::PageSource;
use super::vma::{Backing, Sharing, Vma, mappings};
use super::{MemoryError, host_range};
use crate::dirty::{Which, push_range, ranges};
use crate::int::to_u64;

/// Guest memory mapped in this process, paused.
///
/// Pages that are absent are not touched: reading one would make it present. What may hold data depends on
/// what backs the range, and the kernel knows that better than the region does: a VMM may have mapped a
/// snapshot over its reservation since.
#[derive(Debug)]
pub(crate) struct LiveMemory<'a, M>(pub(crate) &'a M);

impl<M: GuestMemoryBackend> LiveMemory<'_, M> {
    fn region_at(&self, gpa: GuestAddress) -> Result<&M::R, MemoryError> {
        self.0.find_region(gpa).ok_or(MemoryError::Access {
            gpa: gpa.0,
            len_bytes: 0,
            source: GuestMemoryError::InvalidGuestAddress(gpa),
        })
    }
}

impl<M: GuestMemoryBackend> PageSource for LiveMemory<'_, M> {
    fn candidates(&self, gpa: GuestAddress) -> Result<Vec<Range<u64>>, MemoryError> {
        let region = self.region_at(gpa)?;
        let host = host_range(region)?;
        let file = region.file_offset().map(|file_offset| file_offset.file());
        let find = || -> io::Result<Vec<Range<u64>>> {
            let mut found = Vec::new();
            for vma in mappings(host.clone())? {
                for range in vma_candidates(vma, file)? {
                    push_range(&mut found, range);
                }
            }
            Ok(found)
        };
        let found = find().map_err(|source| MemoryError::Scan {
            gpa: region.start_addr().0,
            len_bytes: region.len(),
            source,
        })?;
        Ok(rebase(found, host.start, region.start_addr().0).collect())
    }

    fn read(&self, gpa: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let len = bytes.len();
        let access = |source| MemoryError::Access {
            gpa,
            len_bytes: to_u64(len),
            source,
        };
        let region = self.region_at(GuestAddress(gpa))?;
        let offset = MemoryRegionAddress(gpa - region.start_addr().0);
        region.get_slice(offset, len).map_err(access)?.copy_to(bytes);
        Ok(())
    }
}

/// Host addresses in a mapping that may hold anything but zeroes. `file` is what the region says it maps.
fn vma_candidates(vma: Vma, file: Option<&File>) -> io::Result<Vec<Range<u64>>> {
    let Backing::File {
        dev,
        ino,
        offset,
        sharing,
    } = vma.backing
    else {
        return ranges(vma.host, Which::Private);
    };
    let Some(file) = file.filter(|file| is_file(file, dev, ino)) else {
        // Data may be anywhere in a file that we do not hold.
        return Ok(vec![vma.host]);
    };
    let page = to_u64(rustix::param::page_size());
    let extents = data_extents(file, offset..offset + (vma.host.end - vma.host.start), page)?;
    let extents = rebase(extents, offset, vma.host.start).collect();
    Ok(match sharing {
        Sharing::Shared => extents,
        Sharing::Private => union(extents, ranges(vma.host, Which::Private)?),
    })
}

/// Some file systems number a file otherwise in `stat` than in `maps`. Then it counts as another file, which
/// costs time and nothing else.
fn is_file(file: &File, dev: u64, ino: u64) -> bool {
    file.metadata()
        .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == (dev, ino))
}
