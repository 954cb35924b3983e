//! Snapshot files with changed metadata. Included by the fuzz target and by the tests of the `snapshot` crate.

use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use snapshot::{HEADER_BYTES, SaveOptions, Section, SectionKind, Snapshot, SnapshotId, save};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const PAGE: u64 = 4096;
const SECTIONS: u64 = 2;
const SECTION_BYTES: u64 = 8;
const TABLE_BYTES: u64 = 32 * SECTIONS;
const SECTIONS_END: u64 = HEADER_BYTES + TABLE_BYTES + SECTIONS * SECTION_BYTES;
/// One region of eight pages at 2 MiB, and three runs behind it.
const MAP: u64 = (2 << 20) + 8 * PAGE;
const MAP_BYTES: u64 = 3 * 16;
const HEADER_CRC: u64 = 16;
const TABLE_CRC: u64 = 76;
const MAP_CRC: u64 = 92;
const MAX_CHANGES: usize = 32;

thread_local! {
    static VICTIM: Victim = Victim::new();
}

/// A good file, changed for each input and mended afterwards.
struct Victim {
    _dir: tempfile::TempDir,
    path: PathBuf,
    file: File,
    /// Header, table and sections, and the page map.
    good: [(u64, Vec<u8>); 2],
}

/// Changes bytes of the metadata as `data` says, three bytes a change: where, and the new value. Checksums are made right again if
/// the first byte says so, since else nothing else would be looked at. Whatever opens can be read, mapped and verified without harm.
pub(crate) fn fuzz_snapshot_file(data: &[u8]) {
    let Some((mend, changes)) = data.split_first() else {
        return;
    };
    VICTIM.with(|victim| victim.feed(mend & 1 == 0, changes));
}

impl Victim {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory for temporary files");
        let path = dir.path().join("fuzzed.snap");
        let memory =
            GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 8 << 12)]).expect("32 KiB can be mapped");
        for page in [0, 2, 3, 7] {
            memory
                .write_slice(&[0xa5; 4096], GuestAddress(page * PAGE))
                .expect("the page is in memory");
        }
        let section = |kind| Section {
            kind: SectionKind(kind),
            version: 1,
            bytes: vec![0x5a; 8],
        };
        save(
            &path,
            &memory,
            &[section(1), section(2)],
            SaveOptions::new(SnapshotId([7; 16]), 1),
        )
        .expect("a sound snapshot");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("the file is ours");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .expect("the file is there");
        let good = [(0, SECTIONS_END), (MAP, MAP_BYTES)].map(|(at, len)| {
            let mut bytes = vec![0; usize::try_from(len).expect("some KiB")];
            file.read_exact_at(&mut bytes, at).expect("the file is that long");
            (at, bytes)
        });
        Self {
            _dir: dir,
            path,
            file,
            good,
        }
    }

    fn feed(&self, mend: bool, changes: &[u8]) {
        let mut parts = self.good.clone();
        for change in changes.as_chunks::<3>().0.iter().take(MAX_CHANGES) {
            let at = usize::from(u16::from_le_bytes([change[0], change[1]]));
            let [(_, head), (_, map)] = &mut parts;
            // From 0x8000 on it is the page map; the header's middle is reserved, and so are most places before 0x8000 not there.
            let part = if at < 0x8000 { head } else { map };
            let len = part.len();
            if let Some(byte) = part.get_mut((at & 0x7fff) % len) {
                *byte = change[2];
            }
        }
        let [(_, head), (_, map)] = &mut parts;
        if mend {
            let (header, rest) = head.split_at_mut(usize::try_from(HEADER_BYTES).expect("4 KiB"));
            let table = &rest[..usize::try_from(TABLE_BYTES).expect("64 bytes")];
            put(header, TABLE_CRC, crc(table));
            put(header, MAP_CRC, crc(map));
            put(header, HEADER_CRC, 0);
            let whole = crc(header);
            put(header, HEADER_CRC, whole);
        }
        self.write(&parts);
        if let Ok(snapshot) = Snapshot::open(&self.path) {
            let pages = snapshot.data_pages().total_bytes();
            assert!(pages <= 8 * PAGE);
            assert!(snapshot.sections().len() <= 2);
            // Either may be refused: the memory is not what a changed map says.
            let _ = snapshot.verify_memory();
            let _ = snapshot.map_cow();
        }
        self.write(&self.good);
    }

    fn write(&self, parts: &[(u64, Vec<u8>)]) {
        for (at, bytes) in parts {
            self.file
                .write_all_at(bytes, *at)
                .expect("the file can be written");
        }
    }
}

fn put(bytes: &mut [u8], at: u64, value: u32) {
    let at = usize::try_from(at).expect("within the header");
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// CRC-32 as in zlib.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    !crc
}
