//! From a kernel image to a guest that serves.

use vmm_core::{
    BootError, CreateError, Entry, KernelError, MARK_SERVING, StopReason, Vm, VmConfig, VmStatus,
};

use crate::common::{
    MIB, PATIENCE, Random, Test, bounded, config, hypervisor, info, request, serving, wait_stop,
};
use crate::elf::{Code, Note, image};
use crate::process::resident_bytes;

pub(crate) const TESTS: &[Test] = &[
    ("boots_by_both_entries", boots_by_both_entries),
    (
        "an_image_without_a_pvh_note_is_refused_for_pvh",
        an_image_without_a_pvh_note_is_refused_for_pvh,
    ),
    ("the_guest_tells_how_far_it_is", the_guest_tells_how_far_it_is),
    (
        "memory_goes_on_above_the_device_gap",
        memory_goes_on_above_the_device_gap,
    ),
    ("a_vm_without_a_network_boots", a_vm_without_a_network_boots),
    (
        "configurations_that_cannot_be_are_refused",
        configurations_that_cannot_be_are_refused,
    ),
    (
        "damaged_kernels_are_refused_or_stop",
        damaged_kernels_are_refused_or_stop,
    ),
];

fn boots_by_both_entries() {
    let hypervisor = hypervisor();
    for (entry, name) in [
        (Entry::Linux64, "linux64"),
        (Entry::Pvh, "pvh"),
        (Entry::Auto, "pvh"),
    ] {
        let vm = serving(&hypervisor, &config().entry(entry));
        assert_eq!(info(&vm, "entry"), name);
        assert_eq!(info(&vm, "clock"), "generation");
    }
}

fn an_image_without_a_pvh_note_is_refused_for_pvh() {
    let hypervisor = hypervisor();
    let plain = image(&Code::new().reset(), Note::None);
    let error = Vm::boot(&hypervisor, &config().entry(Entry::Pvh), &plain).unwrap_err();
    assert!(
        matches!(error, BootError::Kernel(KernelError::NoPvhNote)),
        "{error}"
    );
    // The same image boots by the other entry: these instructions mean the same in 64-bit mode.
    let vm = Vm::boot(&hypervisor, &config(), &plain).unwrap();
    vm.start().unwrap();
    assert_eq!(wait_stop(&vm.handle()), StopReason::GuestReset);
}

fn the_guest_tells_how_far_it_is() {
    let vm = serving(&hypervisor(), &config());
    let marks = vm.handle().marks();
    let numbers: Vec<_> = marks.iter().map(|mark| mark.number).collect();
    assert_eq!(numbers, [1, 2, 3, MARK_SERVING]);
    assert!(marks.is_sorted_by_key(|mark| mark.at));
    assert_eq!(vm.handle().status(), VmStatus::Running);
    assert!(request(&vm, "/").starts_with("Hello"));
    assert!(vm.handle().serial_text().contains("serving on port 80"));
}

fn memory_goes_on_above_the_device_gap() {
    let hypervisor = hypervisor();
    let vm = serving(&hypervisor, &config().memory_bytes(4 << 30));
    assert!(request(&vm, "/touch?mib=32").contains("32 MiB"));
    // Four GiB of address space, and only what was touched of memory.
    assert!(resident_bytes() < 512 * MIB);
}

fn a_vm_without_a_network_boots() {
    let kernel = Code::new().mark(7).halt().image();
    let mut vm = Vm::boot(&hypervisor(), &config().net(None), &kernel).unwrap();
    assert!(vm.net().is_none());
    vm.start().unwrap();
    vm.handle().wait_mark(7, PATIENCE).unwrap();
    let paused = vm.pause().unwrap();
    assert_eq!(paused.save().unwrap().to_sections().unwrap().len(), 4);
}

fn configurations_that_cannot_be_are_refused() {
    let hypervisor = hypervisor();
    let boot = |config: VmConfig| Vm::boot(&hypervisor, &config, guest::ELF).unwrap_err();
    for bytes in [0, MIB, 16 * MIB + 1, 1 << 60] {
        let error = boot(config().memory_bytes(bytes));
        assert!(
            matches!(error, BootError::Create(CreateError::Memory(_))),
            "{bytes}: {error}"
        );
        assert!(error.to_string().contains(&bytes.to_string()), "{error}");
    }
    for text in ["a".repeat(4096), "caf\u{e9}".to_owned()] {
        let error = boot(config().cmdline(text));
        assert!(
            matches!(error, BootError::Kernel(KernelError::CommandLine { .. })),
            "{error}"
        );
    }
    // The kernel does not fit.
    let big = image(
        &Code::new().repeat(1, |code| (0..300_000).fold(code, |code, _| code.load(0))),
        Note::Pvh,
    );
    let error = Vm::boot(&hypervisor, &config().memory_bytes(2 * MIB), &big).unwrap_err();
    assert!(
        matches!(error, BootError::Kernel(KernelError::Elf { .. })),
        "{error}"
    );
}

fn damaged_kernels_are_refused_or_stop() {
    let hypervisor = hypervisor();
    let config = config().net(None);
    let whole = Code::new().mark(7).reset().image();
    for len in 0..whole.len() - 1 {
        // Whatever is made of it, it comes to an end.
        let _ = bounded("boot a cut kernel", || {
            Vm::boot(&hypervisor, &config, &whole[..len]).map(drop)
        });
    }
    let mut random = Random::new(1);
    for _ in 0..200 {
        let mut damaged = whole.clone();
        let at = random.below(whole.len());
        damaged[at] ^= 1 << random.below(8);
        bounded("run a damaged kernel", || {
            if let Ok(mut vm) = Vm::boot(&hypervisor, &config, &damaged) {
                vm.start().unwrap();
                // It may spin, halt, stop or work.
                let _ = vm.pause();
            }
        });
    }
}
