use rustix::fs::{SealFlags, fcntl_add_seals};
use vm_memory::{Bytes, GuestMemoryMmap};

use super::*;
use crate::ram::{Poisoned, RamError};
use crate::section::SectionKind;

const SIZE: usize = 16 << 20;

fn anonymous() -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), SIZE)]).unwrap()
}

/// An image whose first page holds a one.
fn image() -> RamImage {
    let memory = anonymous();
    memory.write_obj(1_u8, GuestAddress(0)).unwrap();
    RamImage::capture(&memory, vec![]).unwrap()
}

#[test]
fn memory_that_is_not_a_private_mapping_of_the_image_is_refused() {
    let (mut ours, other) = (image(), image());
    let not_mapped = |result| {
        assert!(
            matches!(result, Err(AbsorbError::NotMapped { gpa: 0 })),
            "{result:?}"
        );
    };
    not_mapped(ours.absorb(&anonymous(), vec![]));
    not_mapped(ours.absorb(&other.map_cow().unwrap(), vec![]));
    let shared = vm_memory::FileOffset::from_arc(ours.memory().unwrap().file, 0);
    let shared =
        GuestMemoryMmap::<()>::from_ranges_with_files([(GuestAddress(0), SIZE, Some(shared))]).unwrap();
    not_mapped(ours.absorb(&shared, vec![]));
    let mut elsewhere = ours.memory().unwrap();
    elsewhere.regions[0].gpa = GuestAddress(0x1000);
    let result = ours.absorb(&elsewhere.map_cow().unwrap(), vec![]);
    assert!(matches!(result, Err(AbsorbError::Regions { index: 0 })));
    let mut shorter = ours.memory().unwrap();
    shorter.regions[0].len_bytes -= 0x1000;
    assert!(matches!(
        ours.absorb(&shorter.map_cow().unwrap(), vec![]),
        Err(AbsorbError::Regions { index: 0 })
    ));
    assert!(!ours.is_poisoned());
}

#[test]
fn an_image_whose_absorb_failed_halfway_is_poisoned() {
    let mut image = image();
    let memory = image.map_cow().unwrap();
    memory.write_obj(2_u8, GuestAddress(0x5000)).unwrap();
    fcntl_add_seals(&image.image.file, SealFlags::WRITE).unwrap();
    let result = image.absorb(&memory, vec![]);
    assert!(
        matches!(
            result,
            Err(AbsorbError::Write {
                gpa: 0x5000,
                len_bytes: 0x1000,
                ..
            })
        ),
        "{result:?}"
    );
    assert!(image.is_poisoned());
    assert!(matches!(image.memory(), Err(Poisoned)));
    assert!(matches!(image.sections(), Err(Poisoned)));
    assert!(matches!(image.map_cow(), Err(RamError::Poisoned(_))));
    assert!(matches!(image.trim(), Err(RamError::Poisoned(_))));
    assert!(matches!(
        image.absorb(&memory, vec![]),
        Err(AbsorbError::Poisoned(_))
    ));
    let path = tempfile::tempdir().unwrap().path().join("a.snap");
    let options = crate::SaveOptions::new(crate::SnapshotId([0; 16]), 0);
    assert!(matches!(
        image.persist(path, options),
        Err(crate::SaveError::Poisoned(_))
    ));
}

#[test]
fn sections_beyond_the_format_leave_the_image_as_it_was() {
    let mut image = image();
    let memory = image.map_cow().unwrap();
    let section = Section {
        kind: SectionKind(1),
        version: 1,
        bytes: vec![],
    };
    let too_many = vec![section; crate::MAX_SECTIONS + 1];
    assert!(matches!(
        image.absorb(&memory, too_many),
        Err(AbsorbError::Limit(_))
    ));
    assert!(!image.is_poisoned());
}

#[test]
fn pages_that_became_zero_take_no_memory() {
    let mut image = image();
    let before = image.resident_bytes().unwrap();
    let memory = image.map_cow().unwrap();
    memory.write_obj(0_u8, GuestAddress(0)).unwrap();
    let absorbed = image.absorb(&memory, vec![]).unwrap();
    assert_eq!((absorbed.dirty_pages, absorbed.zero_pages), (1, 1));
    assert_eq!(image.resident_bytes().unwrap(), before - 4096);
}

#[test]
fn what_reading_holes_has_cost_is_given_back() {
    let mut image = image();
    let before = image.resident_bytes().unwrap();
    let memory = image.map_cow().unwrap();
    for page in 0..256 {
        assert_eq!(
            memory.read_obj::<u8>(GuestAddress(page * 4096)).unwrap(),
            u8::from(page == 0)
        );
    }
    let grown = image.resident_bytes().unwrap();
    assert!(grown > before, "the kernel fills a hole of a memfd that is read");
    assert_eq!(image.trim().unwrap(), grown - before);
    assert_eq!(image.resident_bytes().unwrap(), before);
    assert_eq!(memory.read_obj::<u8>(GuestAddress(0)).unwrap(), 1);
}
