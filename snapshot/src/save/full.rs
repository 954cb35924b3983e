use std::fs;
use std::path::Path;

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::atomic::{Overwrite, TempFile};
use super::error::SaveError;
use super::options::SaveOptions;
use super::sweep::{Progress, sweep};
use crate::check::Host;
use crate::fingerprint::Fingerprint;
use crate::format::{
    DataRun, Extent, FormatError, HEADER_BYTES, Header, RUN_BYTES, decode_table, encode_page_map,
    encode_table, place_regions,
};
use crate::id::SnapshotId;
use crate::image::ImageRegion;
use crate::int::to_u64;
use crate::memory::{LiveMemory, PageSource};
use crate::section::Section;

/// What a save has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// Length of the file in bytes, holes included.
    pub file_len: u64,
    /// Bytes of memory that were not zero, to a page: what the memory takes on disk.
    pub data_bytes: u64,
    /// Runs of pages with data.
    pub runs: usize,
}

/// Saves guest memory and sections to `path`, where a whole and durable snapshot appears in one step.
///
/// The guest has to be paused. Pages that are absent from the memory are not touched, pages of zeroes become
/// holes. O(bytes present), with a buffer of 2 MiB. The file is readable by its owner only (mode 0400): guest
/// memory holds the guest's secrets. The file system must have `RENAME_NOREPLACE` (ext4, XFS, Btrfs, tmpfs and
/// overlayfs do) unless asked to replace.
///
/// # Errors
/// [`SaveError`] says which step failed. No file is left behind then.
pub fn save<M: GuestMemoryBackend>(
    path: impl AsRef<Path>,
    memory: &M,
    sections: &[Section],
    options: SaveOptions<'_>,
) -> Result<Saved, SaveError> {
    let regions = memory.iter().map(|region| (region.start_addr(), region.len()));
    write_snapshot(path.as_ref(), &LiveMemory(memory), regions, sections, options)
}

pub(crate) fn write_snapshot(
    path: &Path,
    source: &impl PageSource,
    regions: impl Iterator<Item = (GuestAddress, u64)>,
    sections: &[Section],
    options: SaveOptions<'_>,
) -> Result<Saved, SaveError> {
    let SaveOptions {
        id,
        created_unix_ns,
        fingerprint,
        overwrite,
        progress,
    } = options;
    let beyond = |source| SaveError::Limit {
        path: path.to_owned(),
        source,
    };
    let (mut header, table) = plan(regions, sections, fingerprint).map_err(beyond)?;
    header.id = id;
    header.created_unix_ns = created_unix_ns;
    if overwrite == Overwrite::Refuse && fs::symlink_metadata(path).is_ok() {
        return Err(SaveError::AlreadyExists {
            path: path.to_owned(),
        });
    }
    let file = TempFile::create(path, id)?;
    file.set_len("reserve the file's length", header.file_len)?;
    file.write_at("write the section table", HEADER_BYTES, &table)?;
    let mut offset = HEADER_BYTES + to_u64(table.len());
    for section in sections {
        file.write_at("write the sections", offset, &section.bytes)?;
        offset += to_u64(section.bytes.len());
    }
    let mut runs = Vec::new();
    let mut ignored = |_: Progress| {};
    let progress = progress.unwrap_or(&mut ignored);
    sweep(source, &header.regions, progress, |region, gpa, bytes| {
        let len_bytes = u32::try_from(bytes.len()).expect("a run is at most 2 MiB");
        runs.push(DataRun {
            gpa,
            len_bytes,
            crc: crc32fast::hash(bytes),
        });
        file.write_at("write the memory", region.file_offset_of(gpa), bytes)
    })?;
    let page_map = encode_page_map(&runs, header.page_size_bytes);
    header.page_map.count = runs.len();
    header.page_map.crc = crc32fast::hash(&page_map);
    header.file_len += to_u64(runs.len()) * RUN_BYTES;
    file.write_at("write the page map", header.page_map.offset, &page_map)?;
    let bytes = header.encode();
    Header::decode(&bytes).map_err(beyond)?;
    file.write_at("write the header", 0, &bytes)?;
    file.commit(overwrite)?;
    Ok(Saved {
        file_len: header.file_len,
        data_bytes: runs.iter().map(|run| u64::from(run.len_bytes)).sum(),
        runs: runs.len(),
    })
}

/// The header of a snapshot of all zeroes, and its section table, held against everything a reader checks.
fn plan(
    regions: impl Iterator<Item = (GuestAddress, u64)>,
    sections: &[Section],
    fingerprint: Fingerprint,
) -> Result<(Header, Vec<u8>), FormatError> {
    let host = Host::current(fingerprint);
    let (table, sections_end) = encode_table(sections);
    let regions = place_regions(sections_end, regions);
    let end = regions.last().map_or(0, ImageRegion::file_end);
    let header = Header {
        architecture: host.architecture,
        page_size_bytes: host.page_size_bytes,
        id: SnapshotId([0; 16]),
        created_unix_ns: 0,
        file_len: end,
        regions,
        fingerprint: host.fingerprint,
        table: Extent {
            offset: HEADER_BYTES,
            count: sections.len(),
            crc: crc32fast::hash(&table),
        },
        page_map: Extent {
            offset: end,
            count: 0,
            crc: crc32fast::hash(&[]),
        },
    };
    // First of all for the number of sections.
    let header = Header::decode(&header.encode())?;
    decode_table(&table)?;
    Ok((header, table))
}

/// Whether a snapshot can hold this.
pub(crate) fn check_limits(
    regions: impl Iterator<Item = (GuestAddress, u64)>,
    sections: &[Section],
) -> Result<(), FormatError> {
    plan(regions, sections, Fingerprint::default()).map(|_| ())
}
