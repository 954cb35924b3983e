use proptest::prelude::*;
use rustix::fs::{MemfdFlags, memfd_create};
use vm_memory::{Bytes, FileOffset, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

use super::*;

const PAGE: u64 = 4096;
const PAGES: u64 = 2048;
const NONE: [u64; 0] = [];

fn map(file: Option<File>, flags: i32) -> GuestMemoryMmap {
    let mapping = MmapRegion::build(
        file.map(|file| FileOffset::new(file, 0)),
        usize::try_from(PAGES * PAGE).unwrap(),
        libc::PROT_READ | libc::PROT_WRITE,
        flags | libc::MAP_NORESERVE,
    )
    .unwrap();
    let region = GuestRegionMmap::new(mapping, GuestAddress(0)).unwrap();
    GuestMemoryMmap::from_regions(vec![region]).unwrap()
}

/// A memfd whose even pages have data.
fn memfd() -> File {
    let file = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
    file.set_len(PAGES * PAGE).unwrap();
    for page in (0..PAGES).step_by(2) {
        std::os::unix::fs::FileExt::write_all_at(&file, b"x", page * PAGE).unwrap();
    }
    file
}

fn private(memory: &GuestMemoryMmap) -> Vec<u64> {
    find(memory, Which::Private)
}

/// Both ways of asking; the pages they find.
fn find(memory: &GuestMemoryMmap, which: Which) -> Vec<u64> {
    let host = host_range(memory.iter().next().unwrap()).unwrap();
    let file = File::open("/proc/self/pagemap").unwrap();
    let by_pagemap = pagemap::ranges(&file, host.clone(), which).unwrap();
    match scan::ranges(&file, host.clone(), which) {
        Ok(by_scan) => assert_eq!(by_scan, by_pagemap),
        Err(error) => assert_eq!(Errno::from_io_error(&error), Some(Errno::NOTTY)),
    }
    let pages = |range: &Range<u64>| (range.start - host.start) / PAGE..(range.end - host.start) / PAGE;
    by_pagemap.iter().flat_map(pages).collect()
}

fn read(memory: &GuestMemoryMmap, page: u64) {
    let _: u8 = memory.read_obj(GuestAddress(page * PAGE)).unwrap();
}

fn write(memory: &GuestMemoryMmap, page: u64) {
    memory.write_obj(1_u8, GuestAddress(page * PAGE)).unwrap();
}

#[test]
fn pages_only_read_through_a_private_mapping_are_not_private() {
    let memory = map(Some(memfd()), libc::MAP_PRIVATE);
    assert_eq!(private(&memory), NONE, "untouched");
    for page in 0..PAGES {
        read(&memory, page);
    }
    assert_eq!(private(&memory), NONE, "data and holes read");
    for page in [0, 7, 8, 9, PAGES - 1] {
        write(&memory, page);
    }
    assert_eq!(private(&memory), [0, 7, 8, 9, PAGES - 1]);
}

#[test]
fn pages_of_a_shared_mapping_are_never_private() {
    let memory = map(Some(memfd()), libc::MAP_SHARED);
    write(&memory, 3);
    assert_eq!(private(&memory), NONE);
}

#[test]
fn pages_of_a_file_on_disk_are_private_once_written() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(PAGES * PAGE).unwrap();
    let memory = map(Some(file), libc::MAP_PRIVATE);
    read(&memory, 4);
    write(&memory, 5);
    assert_eq!(private(&memory), [5]);
}

#[test]
fn anonymous_pages_are_private_once_touched() {
    let memory = map(None, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    assert_eq!(private(&memory), NONE);
    write(&memory, 5);
    read(&memory, 1000);
    // The kernel may have taken a huge page for the one, and has the zero page for the other: all the same
    // to both ways of asking.
    assert!(private(&memory).contains(&5) && private(&memory).contains(&1000));
}

#[test]
fn more_ranges_than_one_call_returns_are_all_found() {
    let memory = map(Some(memfd()), libc::MAP_PRIVATE);
    let odd: Vec<u64> = (0..PAGES).filter(|page| page % 2 == 1).collect();
    for page in &odd {
        write(&memory, *page);
    }
    assert_eq!(private(&memory), odd);
    assert_eq!(private_pages(&memory).unwrap().as_slice().len(), odd.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn exactly_the_written_pages_are_found_both_ways(
        reads in proptest::collection::vec(0..PAGES, 0..50),
        writes in proptest::collection::btree_set(0..PAGES, 0..50),
    ) {
        let memory = map(Some(memfd()), libc::MAP_PRIVATE);
        reads.into_iter().for_each(|page| read(&memory, page));
        writes.iter().for_each(|page| write(&memory, *page));
        prop_assert!(private(&memory).into_iter().eq(writes));
    }
}

#[test]
fn touched_pages_are_those_read_and_those_written() {
    let memory = map(Some(memfd()), libc::MAP_PRIVATE);
    assert_eq!(find(&memory, Which::Touched), NONE, "untouched");
    read(&memory, 64);
    write(&memory, 1024);
    let touched = find(&memory, Which::Touched);
    assert!(touched.contains(&64) && touched.contains(&1024), "{touched:?}");
    // The kernel maps at most the 16 pages around one that is read.
    assert!(touched.len() <= 17, "{touched:?}");
}
