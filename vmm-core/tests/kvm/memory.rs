//! Images mapped over guest memory.

use std::os::unix::fs::FileExt;

use std::sync::Arc;

use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryBackend};
use vmm_core::{DetachedStreams, GenerationId, ImageRegion, MapImageError, MemoryImage, Restore, Shell, Vm};

use crate::common::{MIB, Saved, Test, Way, config, hypervisor, request, restore, saved_serving};
use crate::elf::Code;
use crate::process::private_bytes;

pub(crate) const TESTS: &[Test] = &[
    (
        "images_that_do_not_fit_are_refused",
        images_that_do_not_fit_are_refused,
    ),
    (
        "populated_pages_are_private_once_started",
        populated_pages_are_private_once_started,
    ),
    (
        "clones_share_an_image_and_not_what_they_write",
        clones_share_an_image_and_not_what_they_write,
    ),
    (
        "memory_above_the_device_gap_is_restored",
        memory_above_the_device_gap_is_restored,
    ),
];

fn region(gpa: u64, len_bytes: u64, file_bytes: u64, offset: u64) -> ImageRegion {
    let file = tempfile::tempfile().unwrap();
    file.set_len(file_bytes).unwrap();
    ImageRegion {
        gpa: GuestAddress(gpa),
        len_bytes,
        file: FileOffset::new(file, offset),
    }
}

fn images_that_do_not_fit_are_refused() {
    let hypervisor = hypervisor();
    let all = 16 * MIB;
    let refuse = |regions: Vec<ImageRegion>, populate: Vec<(GuestAddress, u64)>| {
        let shell = Shell::new(&hypervisor, &config(), None).unwrap();
        shell
            .load(&MemoryImage { regions, populate })
            .map(drop)
            .unwrap_err()
    };
    for regions in [
        vec![],
        vec![region(0, all - 4096, all, 0)],
        vec![region(0, 2 * all, 2 * all, 0)],
        vec![region(4096, all, all, 0)],
        vec![region(0, all / 2, all, 0), region(all / 2, all / 2, all, 0)],
        vec![region(0, all, all, 0), region(1 << 32, all, all, 0)],
        vec![region(u64::MAX, u64::MAX, all, 0)],
    ] {
        let error = refuse(regions, vec![]);
        assert!(matches!(error, MapImageError::Layout { .. }), "{error}");
    }
    for (file_bytes, offset) in [(0, 0), (all - 1, 0), (all, 4096), (all, 1 << 62)] {
        let error = refuse(vec![region(0, all, file_bytes, offset)], vec![]);
        assert!(matches!(error, MapImageError::ShortFile { .. }), "{error}");
    }
    for offset in [1, 512, u64::MAX, u64::MAX - 4095] {
        let error = refuse(vec![region(0, all, 2 * all, offset)], vec![]);
        assert!(matches!(error, MapImageError::Call { .. }), "{error}");
    }
    for (gpa, len_bytes) in [
        (0, 0),
        (1, 4096),
        (0, 1),
        (all, 4096),
        (0, all + 4096),
        (1 << 40, 4096),
        (4096, u64::MAX - 4095),
    ] {
        let error = refuse(vec![region(0, all, all, 0)], vec![(GuestAddress(gpa), len_bytes)]);
        assert!(
            matches!(error, MapImageError::Populate { .. }),
            "{gpa:#x}, {len_bytes:#x}: {error}"
        );
    }
}

fn populated_pages_are_private_once_started() {
    let hypervisor = hypervisor();
    let Saved { mut memory, state } = saved_serving(&hypervisor, &config());
    let mut private = |populate: Vec<(GuestAddress, u64)>| {
        memory.populate = populate;
        let restore = Restore {
            state: &state,
            streams: DetachedStreams::default(),
            generation: GenerationId([1; 16]),
        };
        let vm = Shell::new(&hypervisor, &config(), Some(&Arc::new(state.clone()).into()))
            .unwrap()
            .adopt(&memory, restore)
            .unwrap();
        vm.start().unwrap();
        let host = vm.memory().get_host_address(GuestAddress(0)).unwrap();
        let bytes = private_bytes(u64::try_from(host.addr()).unwrap());
        assert_eq!(request(&vm, "/count"), "1");
        bytes
    };
    let without = private(vec![]);
    assert!(without < MIB / 2, "{without}");
    let with = private(vec![(GuestAddress(2 * MIB), MIB), (GuestAddress(8 * MIB), MIB)]);
    assert!(with >= without + 2 * MIB, "{with}, {without} without");
}

fn clones_share_an_image_and_not_what_they_write() {
    let hypervisor = hypervisor();
    let saved = saved_serving(&hypervisor, &config());
    let clone = |way| restore(way, &hypervisor, &config(), &saved, DetachedStreams::default());
    let (first, second) = (clone(Way::Template), clone(Way::Cold));
    for n in 1..=3 {
        assert_eq!(request(&first, "/count"), n.to_string());
        assert!(request(&first, "/touch?mib=4").contains("4 MiB"));
    }
    assert_eq!(request(&second, "/count"), "1");
    assert_eq!(request(&clone(Way::Shell), "/count"), "1");
}

fn memory_above_the_device_gap_is_restored() {
    let hypervisor = hypervisor();
    let config = config().memory_bytes((3 << 30) + 16 * MIB).net(None);
    let high = GuestAddress((1 << 32) + 4096);
    let kernel = Code::new().halt().image();
    let mut vm = Vm::boot(&hypervisor, &config, &kernel).unwrap();
    vm.memory().write_obj(0x1234_5678_u32, high).unwrap();
    let state = vm.pause().unwrap().save().unwrap();
    // Of the 3 GiB below the gap, only the first pages are of interest here.
    let low = region(0, 3 << 30, 3 << 30, 0);
    let above = region(1 << 32, 16 * MIB, 16 * MIB + 4096, 4096);
    above
        .file
        .file()
        .write_all_at(&0x1234_5678_u32.to_le_bytes(), 2 * 4096)
        .unwrap();
    let memory = MemoryImage {
        regions: vec![low, above],
        populate: vec![(high, 4096)],
    };
    let restore = Restore {
        state: &state,
        streams: DetachedStreams::default(),
        generation: GenerationId([1; 16]),
    };
    let vm = Shell::new(&hypervisor, &config, None)
        .unwrap()
        .adopt(&memory, restore)
        .unwrap();
    assert_eq!(vm.memory().read_obj::<u32>(high).unwrap(), 0x1234_5678);
}
