//! The fuzz target of the file format on its corpus and on random changes (fuzz/README.md).

use std::path::Path;

use proptest::prelude::*;

#[path = "../../../fuzz/entries/snapshot_file.rs"]
mod snapshot_file;

use snapshot_file::fuzz_snapshot_file;

#[test]
fn files_hold_against_their_corpus() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/fuzz_snapshot_file");
    let mut fed = 0;
    for file in std::fs::read_dir(&dir).unwrap() {
        fuzz_snapshot_file(&std::fs::read(file.unwrap().path()).unwrap());
        fed += 1;
    }
    assert!(fed > 0, "{} is empty", dir.display());
}

/// Where fields are: header, table, sections, and the page map behind 0x8000.
fn place() -> impl Strategy<Value = u16> {
    prop_oneof![
        0..140_u16,
        320..330_u16,
        2040..2060_u16,
        4096..4180_u16,
        0x8000..0x8030_u16
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn files_hold_against_random_changes(changes in proptest::collection::vec((place(), prop_oneof![any::<u8>(), 0..9_u8]), 0..6)) {
        let mut data = vec![0];
        for (at, value) in changes {
            let [low, high] = at.to_le_bytes();
            data.extend([low, high, value]);
        }
        fuzz_snapshot_file(&data);
    }
}
