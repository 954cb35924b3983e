//! What is saved is what is loaded, by every way in and out.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use proptest::prelude::*;
use snapshot::{
    Fingerprint, Overwrite, PageRun, RamImage, SaveOptions, Section, SectionKind, Snapshot, private_pages,
    save,
};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

use crate::common::{ID, PAGE, REGIONS, contents, guest, nth_page, sections};

fn options<'a>() -> SaveOptions<'a> {
    SaveOptions::new(ID, 1_700_000_000_000_000_000)
}

/// A write of bytes anywhere, zeroes among them.
fn any_write() -> impl Strategy<Value = (GuestAddress, Vec<u8>)> {
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..64),
        (1_usize..20_000).prop_map(|len| vec![0; len]),
        (1_usize..20_000, 1_u8..).prop_map(|(len, byte)| vec![byte; len]),
    ];
    (0_u64..2000, 0..PAGE, bytes)
        .prop_map(|(page, offset, bytes)| (nth_page(page).0 + offset, bytes))
        .prop_map(|(gpa, mut bytes)| {
            let (_, len) = REGIONS
                .into_iter()
                .find(|(start, len)| (*start..start + len).contains(&gpa))
                .unwrap();
            let start = REGIONS.iter().rfind(|(start, _)| *start <= gpa).unwrap().0;
            bytes.truncate(usize::try_from(start + len - gpa).unwrap());
            (GuestAddress(gpa), bytes)
        })
}

fn any_section() -> impl Strategy<Value = Section> {
    (
        any::<u32>(),
        any::<u16>(),
        proptest::collection::vec(any::<u8>(), 0..300),
    )
        .prop_map(|(kind, version, bytes)| Section {
            kind: SectionKind(kind),
            version,
            bytes,
        })
}

fn write_all(memory: &GuestMemoryMmap, writes: &[(GuestAddress, Vec<u8>)]) {
    for (gpa, bytes) in writes {
        memory.write_slice(bytes, *gpa).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_snapshot_has_what_was_saved(
        writes in proptest::collection::vec(any_write(), 0..20),
        sections in proptest::collection::vec(any_section(), 0..5),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let memory = guest(&REGIONS);
        write_all(&memory, &writes);
        let direct = dir.path().join("direct.snap");
        let saved = save(&direct, &memory, &sections, options()).unwrap();

        let snapshot = Snapshot::open(&direct).unwrap();
        snapshot.verify_memory().unwrap();
        prop_assert_eq!(snapshot.sections(), &sections[..]);
        prop_assert_eq!(snapshot.data_pages().total_bytes(), saved.data_bytes);
        prop_assert!(contents(&snapshot.map_cow().unwrap()) == contents(&memory));

        // Through RAM and out again, by both ways in: the very same file.
        let copied = RamImage::from_snapshot(&snapshot).unwrap();
        let captured = RamImage::capture(&memory, sections.clone()).unwrap();
        for image in [&copied, &captured] {
            prop_assert_eq!(image.sections().unwrap(), &sections[..]);
            let section_bytes: usize = sections.iter().map(|section| section.bytes.len()).sum();
            prop_assert_eq!(image.resident_bytes().unwrap(), saved.data_bytes + section_bytes as u64);
            let path = dir.path().join("again.snap");
            image.persist(&path, options().overwrite(Overwrite::Replace)).unwrap();
            prop_assert!(std::fs::read(&path).unwrap() == std::fs::read(&direct).unwrap());
            prop_assert!(contents(&image.map_cow().unwrap()) == contents(&memory));
        }
    }

    #[test]
    fn an_image_follows_its_guest_over_many_sleeps(
        first in proptest::collection::vec(any_write(), 0..10),
        cycles in proptest::collection::vec(
            (proptest::collection::vec(any_write(), 0..8), any_section()), 1..6,
        ),
    ) {
        let model = guest(&REGIONS);
        write_all(&model, &first);
        let mut image = RamImage::capture(&model, vec![]).unwrap();
        for (writes, section) in cycles {
            let awake = image.map_cow().unwrap();
            write_all(&awake, &writes);
            write_all(&model, &writes);
            let found = private_pages(&awake).unwrap();
            let absorbed = image.absorb(&awake, vec![section.clone()]).unwrap();
            prop_assert!(absorbed.dirty_pages * PAGE <= found.total_bytes());
            let is_touched = |run: &PageRun| absorbed.touched.iter().any(|touched| {
                touched.gpa <= run.gpa && run.gpa.0 + run.len_bytes <= touched.gpa.0 + touched.len_bytes
            });
            prop_assert!(found.iter().all(is_touched));
            drop(awake);
            prop_assert_eq!(image.sections().unwrap(), &[section]);
            prop_assert!(contents(&image.map_cow().unwrap()) == contents(&model));
        }
        // Comparing has read every hole; what that has cost comes back.
        image.trim().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let saved = image.persist(dir.path().join("a.snap"), options()).unwrap();
        let sections: usize = image.sections().unwrap().iter().map(|section| section.bytes.len()).sum();
        prop_assert_eq!(image.resident_bytes().unwrap(), saved.data_bytes + sections as u64);
    }
}

#[test]
fn saving_does_not_make_absent_pages_present() {
    let memory = guest(&[(0, 64 << 20)]);
    for page in [0, 5000, 16_383] {
        memory.write_obj(1_u8, GuestAddress(page * PAGE)).unwrap();
    }
    let before = private_pages(&memory).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let saved = save(dir.path().join("a.snap"), &memory, &[], options()).unwrap();
    RamImage::capture(&memory, vec![]).unwrap();
    assert_eq!(private_pages(&memory).unwrap(), before);
    assert_eq!((saved.data_bytes, saved.runs), (3 * PAGE, 3));
    let on_disk = std::fs::metadata(dir.path().join("a.snap")).unwrap().blocks() * 512;
    assert!(on_disk < 1 << 20, "{on_disk} bytes on disk: zero pages are holes");
}

#[test]
fn memory_of_every_kind_is_saved_whole() {
    let dir = tempfile::tempdir().unwrap();
    let base = guest(&[(0, 1 << 20)]);
    for page in [1, 2, 9] {
        base.write_obj(page, GuestAddress(page * PAGE)).unwrap();
    }
    save(dir.path().join("base.snap"), &base, &[], options()).unwrap();
    let base = Snapshot::open(dir.path().join("base.snap")).unwrap().memory();
    let map = |file_offset: Option<FileOffset>, flags| {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let mapping = MmapRegion::build(file_offset, 1 << 20, protection, flags).unwrap();
        GuestMemoryMmap::from_regions(vec![GuestRegionMmap::new(mapping, GuestAddress(0)).unwrap()]).unwrap()
    };
    let copy = || {
        let file = tempfile::tempfile().unwrap();
        file.set_len(3 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"data", (2 << 20) + 7 * PAGE).unwrap();
        Some(FileOffset::new(file, 2 << 20))
    };
    let kinds = [
        ("copy-on-write", base.map_cow().unwrap()),
        ("shared file", map(copy(), libc::MAP_SHARED)),
        ("private file", map(copy(), libc::MAP_PRIVATE)),
        (
            "shared anonymous, a file unknown to us",
            map(None, libc::MAP_SHARED | libc::MAP_ANONYMOUS),
        ),
        (
            "private anonymous",
            map(None, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS),
        ),
    ];
    for (kind, memory) in kinds {
        memory.write_slice(b"written", GuestAddress(9 * PAGE)).unwrap();
        memory.write_slice(&[0; 4096], GuestAddress(2 * PAGE)).unwrap();
        memory
            .write_slice(b"behind a hole", GuestAddress(200 * PAGE))
            .unwrap();
        let path = dir.path().join("a.snap");
        save(&path, &memory, &[], options().overwrite(Overwrite::Replace)).unwrap();
        let snapshot = Snapshot::open(&path).unwrap();
        snapshot.verify_memory().unwrap();
        assert!(
            contents(&snapshot.map_cow().unwrap()) == contents(&memory),
            "{kind}"
        );
    }
}

#[test]
fn copies_on_write_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.snap");
    save(&path, &guest(&REGIONS), &sections(), options()).unwrap();
    let snapshot = Snapshot::open(&path).unwrap();
    let (a, b) = (snapshot.map_cow().unwrap(), snapshot.map_cow().unwrap());
    a.write_obj(7_u8, GuestAddress(0)).unwrap();
    assert_eq!(b.read_obj::<u8>(GuestAddress(0)).unwrap(), 0);
    drop((a, b));
    snapshot.verify_memory().unwrap();
}

#[test]
fn a_replaced_snapshot_stays_readable_where_it_is_mapped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.snap");
    let memory = guest(&REGIONS);
    memory.write_obj(1_u8, GuestAddress(0)).unwrap();
    save(&path, &memory, &[], options()).unwrap();
    let before = Snapshot::open(&path).unwrap().map_cow().unwrap();
    memory.write_obj(2_u8, GuestAddress(0)).unwrap();
    assert!(matches!(
        save(&path, &memory, &[], options()),
        Err(snapshot::SaveError::AlreadyExists { path: taken }) if taken == path
    ));
    save(&path, &memory, &[], options().overwrite(Overwrite::Replace)).unwrap();
    assert_eq!(before.read_obj::<u8>(GuestAddress(0)).unwrap(), 1);
    let after = Snapshot::open(&path).unwrap().map_cow().unwrap();
    assert_eq!(after.read_obj::<u8>(GuestAddress(0)).unwrap(), 2);
}

#[test]
fn the_memory_image_is_what_a_vmm_maps() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.snap");
    let memory = guest(&REGIONS);
    memory.write_obj(0x55_u8, GuestAddress(1 << 32)).unwrap();
    save(&path, &memory, &sections(), options()).unwrap();
    let image = Snapshot::open(&path).unwrap().memory();
    assert!(
        image
            .regions
            .iter()
            .map(|region| (region.gpa.0, region.len_bytes))
            .eq(REGIONS)
    );
    assert!(
        image
            .regions
            .iter()
            .all(|region| region.file_offset % (2 << 20) == 0)
    );
    let mut byte = [0];
    let file: &Arc<File> = &image.file;
    std::os::unix::fs::FileExt::read_exact_at(&**file, &mut byte, image.regions[2].file_offset).unwrap();
    assert_eq!(byte, [0x55]);
}

#[test]
fn progress_ends_with_all_that_was_to_be_done() {
    let dir = tempfile::tempdir().unwrap();
    let memory = guest(&[(0, 8 << 20)]);
    memory
        .write_slice(&vec![1; 5 << 20], GuestAddress(1 << 20))
        .unwrap();
    let mut seen = Vec::new();
    let mut record = |progress| seen.push(progress);
    save(
        dir.path().join("a.snap"),
        &memory,
        &[],
        options().progress(&mut record),
    )
    .unwrap();
    let last = seen.last().unwrap();
    assert!(
        last.done_bytes == last.total_bytes && last.total_bytes >= 5 << 20,
        "{seen:?}"
    );
    assert!(seen.is_sorted_by(|a, b| a.done_bytes < b.done_bytes));
}

#[test]
fn memory_that_no_snapshot_can_hold_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.snap");
    let nine: Vec<_> = (0..9).map(|n| (n * 0x10_0000, 0x1000)).collect();
    for regions in [&nine[..], &[(0x800, 0x1000)], &[(0, 0x1800)]] {
        let error = save(&path, &guest(regions), &[], options()).unwrap_err();
        assert!(matches!(error, snapshot::SaveError::Limit { .. }), "{error:?}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn the_header_says_who_when_and_for_which_host() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.snap");
    let fingerprint = Fingerprint::from_pairs([("cpu.vendor", "AuthenticAMD")]).unwrap();
    let saved = save(
        &path,
        &guest(&REGIONS),
        &[],
        options().fingerprint(fingerprint.clone()),
    )
    .unwrap();
    let header = snapshot::Header::read(&path).unwrap();
    assert_eq!(
        (header.id, header.created_unix_ns),
        (ID, 1_700_000_000_000_000_000)
    );
    assert_eq!(
        (header.file_len, &header.fingerprint),
        (saved.file_len, &fingerprint)
    );
    assert_eq!(
        header.memory_bytes(),
        REGIONS.iter().map(|(_, len)| len).sum::<u64>()
    );
    assert_eq!(
        snapshot::check(&header, &snapshot::Host::current(fingerprint)),
        Ok(())
    );
    let mismatches = snapshot::check(&header, &snapshot::Host::current(Fingerprint::default())).unwrap_err();
    assert_eq!(mismatches.len(), 1);
}
