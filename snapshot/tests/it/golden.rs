//! The bytes of format v1 are what they have always been, and what was saved then loads now.

use std::fmt::Write;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use snapshot::{Fingerprint, RamImage, SaveOptions, Snapshot, save};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::common::{ID, PAGE, contents, guest, sections};

const GOLDEN: &str = include_str!("../golden/v1.hex");
const LEN: u64 = 0x40_5040;

fn memory() -> GuestMemoryMmap {
    let memory = guest(&[(0, 4 * PAGE), (0x1f_e000, 5 * PAGE)]);
    memory
        .write_slice(b"first byte of memory", GuestAddress(0))
        .unwrap();
    memory
        .write_slice(b"last bytes of a region", GuestAddress(4 * PAGE - 22))
        .unwrap();
    // A run that goes on from one group of 2 MiB to the next.
    memory.write_slice(&[1], GuestAddress(0x1f_f000)).unwrap();
    memory.write_slice(&[2], GuestAddress(0x20_0fff)).unwrap();
    memory
}

fn options<'a>() -> SaveOptions<'a> {
    let fingerprint = Fingerprint::from_pairs([("kvm.api", "12"), ("cpu.vendor", "GenuineIntel")]).unwrap();
    SaveOptions::new(ID, 1_700_000_000_000_000_000).fingerprint(fingerprint)
}

/// Lines of 32 bytes with their offset, without those that are all zero.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (index, line) in bytes.chunks(32).enumerate() {
        if line.iter().any(|byte| *byte != 0) {
            write!(text, "{:06x} ", index * 32).unwrap();
            line.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
            text.push('\n');
        }
    }
    text
}

#[test]
fn the_bytes_of_format_v1_are_pinned() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.snap");
    save(&path, &memory(), &sections(), options()).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(dump(&bytes), GOLDEN);
    assert_eq!(bytes.len() as u64, LEN);
}

#[test]
fn the_golden_snapshot_loads() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("golden.snap");
    let file = File::create(&path).unwrap();
    for line in GOLDEN.lines() {
        let (offset, hex) = line.split_once(' ').unwrap();
        let digit = |index: usize| u8::from_str_radix(&hex[index..index + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(digit).collect();
        file.write_all_at(&bytes, u64::from_str_radix(offset, 16).unwrap())
            .unwrap();
    }
    file.set_len(LEN).unwrap();
    let golden = Snapshot::open(&path).unwrap();
    golden.verify_memory().unwrap();
    assert_eq!(golden.header().id, ID);
    assert_eq!(golden.header().created_unix_ns, 1_700_000_000_000_000_000);
    assert_eq!(golden.header().fingerprint.value("kvm.api"), Some("12"));
    assert_eq!(golden.sections(), sections());
    assert!(contents(&golden.map_cow().unwrap()) == contents(&memory()));
    assert!(contents(&RamImage::from_snapshot(&golden).unwrap().map_cow().unwrap()) == contents(&memory()));
}
