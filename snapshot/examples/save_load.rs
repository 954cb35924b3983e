//! Saves guest memory, loads it, parks it in RAM and absorbs changes, and prints what each step takes.
//!
//! `cargo run --release -p snapshot --example save_load [directory]`

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use snapshot::{Overwrite, RamImage, SaveOptions, Section, SectionKind, Snapshot, SnapshotId, save};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const MEMORY: usize = 512 << 20;
const PAGE: u64 = 4096;

fn timed<T>(what: &str, step: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = step();
    println!("{what:<44}{:>10.0} µs", start.elapsed().as_secs_f64() * 1e6);
    result
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = env::args_os().nth(1).map_or_else(env::temp_dir, PathBuf::from);
    let path = dir.join("save_load.snap");
    let section = Section {
        kind: SectionKind(1),
        version: 1,
        bytes: b"registers".to_vec(),
    };

    println!("a guest of 512 MiB, 16 MiB of it in use");
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), MEMORY)])?;
    for page in 0..4096 {
        memory.write_obj(page + 1, GuestAddress(page * 8 * PAGE))?;
    }
    let options = || SaveOptions::new(SnapshotId([1; 16]), 0).overwrite(Overwrite::Replace);
    let saved = timed("save", || {
        save(&path, &memory, std::slice::from_ref(&section), options())
    })?;
    println!("  {} MiB of data in {} runs", saved.data_bytes >> 20, saved.runs);
    let snapshot = timed("open", || Snapshot::open(&path))?;
    timed("verify the memory", || snapshot.verify_memory())?;
    timed("map copy-on-write", || snapshot.map_cow())?;
    let mut parked = timed("park in RAM", || RamImage::from_snapshot(&snapshot))?;
    let awake = timed("map copy-on-write", || parked.map_cow())?;
    for page in 0..1024 {
        awake.write_obj(page, GuestAddress(page * PAGE))?;
    }
    let absorbed = timed("absorb 1,024 dirty pages", || {
        parked.absorb(&awake, vec![section])
    })?;
    println!(
        "  {} dirty pages, {} runs touched",
        absorbed.dirty_pages,
        absorbed.touched.as_slice().len()
    );
    timed("persist", || parked.persist(&path, options()))?;
    std::fs::remove_file(&path)?;
    Ok(())
}
