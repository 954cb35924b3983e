use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::error::LoadError;
use crate::check::Host;
use crate::fingerprint::Fingerprint;
use crate::format::{
    DataRun, ENTRY_BYTES, Extent, FormatError, GROUP_BYTES, HEADER_BYTES, HEADER_LEN, Header, Part,
    RUN_BYTES, decode_page_map, decode_table,
};
use crate::image::{MapError, MemoryImage};
use crate::int::{to_u64, to_usize};
use crate::page_runs::{PageRun, PageRuns};
use crate::section::{Section, SectionKind};

/// A snapshot file, open and verified but for the memory itself.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) file: Arc<File>,
    pub(super) path: PathBuf,
    pub(super) header: Header,
    pub(super) sections_end: u64,
    pub(super) sections: Vec<Section>,
    pub(super) runs: Vec<DataRun>,
}

impl Header {
    /// Reads the header of a snapshot, wherever it was saved, and nothing else: what [`check`](crate::check)
    /// needs. Takes one read of 4 KiB.
    ///
    /// # Errors
    /// [`LoadError`] if the file is no snapshot, of another format version, cut or extended, or its header is
    /// damaged.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        open_header(path.as_ref()).map(|(_, header)| header)
    }
}

impl Snapshot {
    /// Opens a snapshot and verifies its header, section table, sections and page map. The memory is not read:
    /// O(sections + runs), whatever the size of the guest.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong and where. A snapshot of another architecture or page size is refused,
    /// see [`Header::read`] for examining it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = path.as_ref();
        let refuse = |error| LoadError::format(path, error);
        let (file, header) = open_header(path)?;
        check_host(&header).map_err(refuse)?;
        let table = read_extent(&file, path, Part::SectionTable, header.table, ENTRY_BYTES)?;
        let entries = decode_table(&table).map_err(refuse)?;
        let sections_end = entries
            .last()
            .map_or(HEADER_BYTES + to_u64(table.len()), |entry| entry.end());
        let memory_start = header.regions.first().map_or(0, |region| region.file_offset);
        if memory_start != sections_end.next_multiple_of(GROUP_BYTES) {
            return Err(refuse(FormatError::Field {
                part: Part::SectionTable,
                offset: HEADER_BYTES,
                field: "end of the sections",
                found: sections_end,
                rule: "less than 2 MiB before the first region",
            }));
        }
        let sections = entries
            .iter()
            .map(|entry| {
                let extent = Extent {
                    offset: entry.offset,
                    count: to_usize(entry.len_bytes),
                    crc: entry.crc,
                };
                let bytes = read_extent(&file, path, Part::Section(entry.kind), extent, 1)?;
                Ok(Section {
                    kind: entry.kind,
                    version: entry.version,
                    bytes,
                })
            })
            .collect::<Result<_, LoadError>>()?;
        let page_map = read_extent(&file, path, Part::PageMap, header.page_map, RUN_BYTES)?;
        let runs = decode_page_map(&page_map, &header).map_err(refuse)?;
        Ok(Self {
            file: Arc::new(file),
            path: path.to_owned(),
            header,
            sections_end,
            sections,
            runs,
        })
    }

    /// The file's path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// All sections, in the order in which they were saved. Their checksums are right, their contents untrusted.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The first section of this kind.
    pub fn section(&self, kind: SectionKind) -> Option<&Section> {
        self.sections.iter().find(|section| section.kind == kind)
    }

    /// The pages that have data; all others are zero. O(runs).
    pub fn data_pages(&self) -> PageRuns {
        let mut pages = PageRuns::default();
        for run in &self.runs {
            pages.push(PageRun {
                gpa: GuestAddress(run.gpa),
                len_bytes: run.len_bytes.into(),
            });
        }
        pages
    }

    /// The memory, to be mapped by whoever has the address space for it.
    ///
    /// The file must not be written to or truncated while it is mapped. Nobody does so who only saves with this
    /// crate: a snapshot is replaced by another file, never changed.
    pub fn memory(&self) -> MemoryImage {
        MemoryImage {
            file: Arc::clone(&self.file),
            regions: self.header.regions.clone(),
        }
    }

    /// Maps the memory copy-on-write. Any number of mappings share the pages they only read.
    ///
    /// # Errors
    /// [`MapError`] if the kernel refuses a mapping.
    pub fn map_cow(&self) -> Result<GuestMemoryMmap, MapError> {
        self.memory().map_cow()
    }
}

fn open_header(path: &Path) -> Result<(File, Header), LoadError> {
    let refuse = |error| LoadError::format(path, error);
    let file = File::open(path).map_err(|error| LoadError::io("open the file", path, error))?;
    let found_len = file
        .metadata()
        .map_err(|error| LoadError::io("examine the file", path, error))?
        .len();
    let mut bytes = [0; HEADER_LEN];
    let len = to_usize(found_len.min(HEADER_BYTES));
    let (start, _) = bytes.split_at_mut(len);
    file.read_exact_at(start, 0)
        .map_err(|error| LoadError::io("read the header", path, error))?;
    let header = match Header::decode(&bytes) {
        // What is missing was taken for zeroes. Say what the matter is, if it was a snapshot at all.
        Err(error) if len < HEADER_LEN && !matches!(error, FormatError::NotASnapshot { .. }) => {
            return Err(refuse(FormatError::Truncated {
                expected_len: HEADER_BYTES,
                found_len,
            }));
        }
        result => result.map_err(refuse)?,
    };
    let expected_len = header.file_len;
    if found_len < expected_len {
        return Err(refuse(FormatError::Truncated {
            expected_len,
            found_len,
        }));
    }
    if found_len > expected_len {
        return Err(refuse(FormatError::TrailingBytes {
            expected_len,
            found_len,
        }));
    }
    Ok((file, header))
}

fn check_host(header: &Header) -> Result<(), FormatError> {
    let host = Host::current(Fingerprint::default());
    if header.architecture != host.architecture {
        return Err(FormatError::ForeignArchitecture {
            found: header.architecture,
            host: host.architecture,
        });
    }
    if header.page_size_bytes != host.page_size_bytes {
        return Err(FormatError::ForeignPageSize {
            found: header.page_size_bytes,
            host: host.page_size_bytes,
        });
    }
    Ok(())
}

/// Reads records whose number has been checked against its limit, and verifies their checksum.
fn read_extent(
    file: &File,
    path: &Path,
    part: Part,
    Extent {
        offset,
        count,
        crc: expected,
    }: Extent,
    record_bytes: u64,
) -> Result<Vec<u8>, LoadError> {
    let what = match part {
        Part::Header => "read the header",
        Part::SectionTable => "read the section table",
        Part::Section(_) => "read a section",
        Part::PageMap => "read the page map",
    };
    let mut bytes = vec![0; count * to_usize(record_bytes)];
    file.read_exact_at(&mut bytes, offset)
        .map_err(|error| LoadError::io(what, path, error))?;
    let found = crc32fast::hash(&bytes);
    if found != expected {
        return Err(LoadError::format(
            path,
            FormatError::Checksum {
                part,
                offset,
                found,
                expected,
            },
        ));
    }
    Ok(bytes)
}
