#![no_main]

#[path = "../entries/snapshot_file.rs"]
mod snapshot_file;

libfuzzer_sys::fuzz_target!(|data: &[u8]| snapshot_file::fuzz_snapshot_file(data));
