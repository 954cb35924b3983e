//! A damaged, cut or foreign file is refused, and the error says what is wrong and where.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use snapshot::{
    FormatError, HEADER_BYTES, Header, LoadError, Part, RamError, RamImage, SaveOptions, Section,
    SectionKind, Snapshot, save,
};
use tempfile::TempDir;
use vm_memory::{Bytes, GuestAddress};

use crate::common::{ID, PAGE, guest, sections};

/// Where the second of the two regions begins in guest memory. It follows the first in the file.
const SECOND_GPA: u64 = 0x10_0000;
const FIRST_OFFSET: u64 = 2 << 20;
const SECOND_OFFSET: u64 = 4 << 20;
const MAP_OFFSET: u64 = SECOND_OFFSET + 4 * PAGE;

/// A small snapshot that can be damaged.
struct Victim {
    _dir: TempDir,
    path: PathBuf,
    file: File,
    len: u64,
    sections_end: u64,
}

impl Victim {
    /// Data in pages 1 and 2 of the first region, and in page 3 of the second.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.snap");
        let memory = guest(&[(0, 8 * PAGE), (SECOND_GPA, 4 * PAGE)]);
        for gpa in [PAGE, 2 * PAGE, SECOND_GPA + 3 * PAGE] {
            memory.write_slice(&[0xaa; 4096], GuestAddress(gpa)).unwrap();
        }
        let len = save(&path, &memory, &sections(), SaveOptions::new(ID, 1))
            .unwrap()
            .file_len;
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let bytes: usize = sections().iter().map(|section| section.bytes.len()).sum();
        let sections_end = HEADER_BYTES + 32 * sections().len() as u64 + bytes as u64;
        Self {
            _dir: dir,
            path,
            file,
            len,
            sections_end,
        }
    }

    fn flip(&self, offset: u64, mask: u8) {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, offset).unwrap();
        self.file.write_all_at(&[byte[0] ^ mask], offset).unwrap();
    }

    fn open(&self) -> Result<Snapshot, FormatError> {
        Snapshot::open(&self.path).map_err(format_error)
    }

    fn verify(&self) -> Result<(), FormatError> {
        Snapshot::open(&self.path)
            .unwrap()
            .verify_memory()
            .map_err(format_error)
    }
}

fn format_error(error: LoadError) -> FormatError {
    match error {
        LoadError::Format { error, .. } => error,
        other => panic!("expected an error of the format, got {other:?}"),
    }
}

#[test]
fn every_flipped_byte_of_the_metadata_is_refused() {
    let victim = Victim::new();
    assert_eq!(victim.len, MAP_OFFSET + 2 * 16, "two runs");
    for offset in (0..victim.sections_end).chain(MAP_OFFSET..victim.len) {
        for mask in [1, 0x80, 0xff] {
            victim.flip(offset, mask);
            assert!(victim.open().is_err(), "byte {offset:#x} with {mask:#x}");
            victim.flip(offset, mask);
        }
    }
    victim.open().unwrap();
}

#[test]
fn the_error_names_the_damaged_part() {
    let victim = Victim::new();
    let table_end = HEADER_BYTES + 3 * 32;
    for (offset, expected, at) in [
        (100, Part::Header, 0),
        (HEADER_BYTES + 4, Part::SectionTable, HEADER_BYTES),
        (table_end, Part::Section(SectionKind(1)), table_end),
        (MAP_OFFSET, Part::PageMap, MAP_OFFSET),
    ] {
        victim.flip(offset, 1);
        let error = victim.open().unwrap_err();
        assert!(
            matches!(error, FormatError::Checksum { part, offset, .. } if part == expected && offset == at),
            "{error:?}"
        );
        victim.flip(offset, 1);
    }
    victim.flip(HEADER_BYTES, 1);
    let message = Snapshot::open(&victim.path).unwrap_err().to_string();
    let path = victim.path.display();
    let start = format!("load snapshot {path}: section table (offset 0x1000): crc 0x");
    assert!(
        message.starts_with(&start) && message.contains(" expected 0x"),
        "{message}"
    );
}

#[test]
fn a_cut_file_is_refused_at_every_length() {
    let victim = Victim::new();
    let parts = [
        0,
        8,
        HEADER_BYTES,
        victim.sections_end,
        FIRST_OFFSET,
        SECOND_OFFSET,
        MAP_OFFSET,
        victim.len,
    ];
    let lengths = parts
        .into_iter()
        .flat_map(|end| [end.saturating_sub(1), end, end + 1]);
    let mut lengths: Vec<u64> = lengths.filter(|len| *len < victim.len).collect();
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    for len in lengths {
        victim.file.set_len(len).unwrap();
        let error = victim.open().unwrap_err();
        match error {
            FormatError::Truncated { found_len, .. } => assert_eq!(found_len, len),
            FormatError::NotASnapshot { .. } => assert!(len < 8),
            other => panic!("at {len} bytes: {other:?}"),
        }
    }
}

#[test]
fn trailing_bytes_are_refused() {
    let victim = Victim::new();
    victim.file.set_len(victim.len + 1).unwrap();
    let expected = FormatError::TrailingBytes {
        expected_len: victim.len,
        found_len: victim.len + 1,
    };
    assert_eq!(victim.open().unwrap_err(), expected);
}

#[test]
fn damaged_memory_is_found_by_the_full_verification_and_its_addresses_named() {
    let victim = Victim::new();
    victim.verify().unwrap();
    for (offset, damaged_gpa, damaged_len) in [
        (FIRST_OFFSET + PAGE, PAGE, 2 * PAGE),
        (FIRST_OFFSET + 3 * PAGE - 1, PAGE, 2 * PAGE),
        (SECOND_OFFSET + 3 * PAGE + 7, SECOND_GPA + 3 * PAGE, PAGE),
    ] {
        victim.flip(offset, 1);
        victim.open().expect("loading does not read the memory");
        let error = victim.verify().unwrap_err();
        assert!(
            matches!(error, FormatError::DamagedMemory { gpa, len_bytes, .. }
                if gpa == damaged_gpa && len_bytes == damaged_len),
            "{error:?}"
        );
        let parked = RamImage::from_snapshot(&victim.open().unwrap());
        assert!(
            matches!(parked, Err(RamError::Load(LoadError::Format { .. }))),
            "{parked:?}"
        );
        victim.flip(offset, 1);
    }
}

#[test]
fn data_where_a_mapping_would_show_zeroes_is_found() {
    let victim = Victim::new();
    for (offset, gpa) in [
        (FIRST_OFFSET, 0),
        (FIRST_OFFSET + 3 * PAGE, 3 * PAGE),
        (FIRST_OFFSET + 8 * PAGE - 1, 7 * PAGE),
        (SECOND_OFFSET + 2 * PAGE, SECOND_GPA + 2 * PAGE),
    ] {
        victim.flip(offset, 1);
        let offset_of_page = offset - offset % PAGE;
        assert_eq!(
            victim.verify(),
            Err(FormatError::DamagedZeroPage {
                gpa,
                offset: offset_of_page
            })
        );
        victim.flip(offset, 1);
    }
    for (offset, at) in [
        (victim.sections_end, victim.sections_end),
        (FIRST_OFFSET + 8 * PAGE, FIRST_OFFSET + 8 * PAGE),
        (SECOND_OFFSET - 1, SECOND_OFFSET - PAGE),
    ] {
        victim.flip(offset, 1);
        assert_eq!(victim.verify(), Err(FormatError::DamagedPadding { offset: at }));
        victim.flip(offset, 1);
    }
    victim.verify().expect("zeroes written into holes do not matter");
}

#[test]
fn other_files_and_other_versions_have_errors_of_their_own() {
    let victim = Victim::new();
    let patched = |offset: u64, bytes: &[u8]| {
        let mut header = [0; 4096];
        victim.file.read_exact_at(&mut header, 0).unwrap();
        let original = header;
        let at = usize::try_from(offset).unwrap();
        header[at..at + bytes.len()].copy_from_slice(bytes);
        header[16..20].fill(0);
        let crc = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        victim.file.write_all_at(&header, 0).unwrap();
        let error = victim.open().unwrap_err();
        let read = Header::read(&victim.path);
        victim.file.write_all_at(&original, 0).unwrap();
        (error, read)
    };
    assert!(matches!(
        patched(0, b"\x7fELF").0,
        FormatError::NotASnapshot { .. }
    ));
    assert_eq!(patched(8, &[10, 11, 12, 13]).0, FormatError::ForeignByteOrder);
    assert_eq!(
        patched(12, &[2]).0,
        FormatError::NewerVersion {
            found: 2,
            supported: 1
        }
    );
    assert_eq!(
        patched(12, &[0]).0,
        FormatError::OlderVersion {
            found: 0,
            supported: 1
        }
    );
    let (error, read) = patched(20, &[99]);
    assert!(
        matches!(error, FormatError::ForeignArchitecture { .. }),
        "{error:?}"
    );
    assert_eq!(read.unwrap().architecture.to_string(), "architecture 99");
    let (error, read) = patched(24, &0x2000_u32.to_le_bytes());
    assert!(
        matches!(error, FormatError::ForeignPageSize { found: 0x2000, .. }),
        "{error:?}"
    );
    read.expect("a header can be examined wherever it comes from");
    fs::write(victim.path.with_extension("txt"), "#!/bin/sh\n").unwrap();
    let error = format_error(Snapshot::open(victim.path.with_extension("txt")).unwrap_err());
    assert!(matches!(error, FormatError::NotASnapshot { .. }), "{error:?}");
    assert!(matches!(
        Snapshot::open(victim.path.with_extension("none")),
        Err(LoadError::Io { .. })
    ));
}

#[test]
fn memory_that_would_lie_over_the_sections_is_refused() {
    // A table whose checksum is right, for sections longer than those the memory was placed behind.
    let victim = Victim::new();
    let mut table = [0; 3 * 32];
    victim.file.read_exact_at(&mut table, HEADER_BYTES).unwrap();
    table[2 * 32 + 16..2 * 32 + 24].copy_from_slice(&(3_u64 << 20).to_le_bytes());
    victim.file.write_all_at(&table, HEADER_BYTES).unwrap();
    let mut header = [0; 4096];
    victim.file.read_exact_at(&mut header, 0).unwrap();
    header[76..80].copy_from_slice(&crc32fast::hash(&table).to_le_bytes());
    header[16..20].fill(0);
    let crc = crc32fast::hash(&header);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    victim.file.write_all_at(&header, 0).unwrap();
    let error = victim.open().unwrap_err();
    assert!(
        matches!(
            error,
            FormatError::Field {
                part: Part::SectionTable,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn sections_are_found_by_kind() {
    let snapshot = Victim::new().open().unwrap();
    assert_eq!(snapshot.section(SectionKind(1)), sections().first());
    assert_eq!(
        snapshot
            .section(SectionKind(2))
            .map(|Section { version, .. }| *version),
        Some(0)
    );
    assert_eq!(snapshot.section(SectionKind(3)), None);
}
