//! Guests that do what no driver would: the VMM neither fails nor grows.

use vm_memory::{Bytes, GuestAddress};
use vmm_core::{StopReason, Vm, VmConfig};

use crate::common::{MIB, Random, Test, bounded, config, hypervisor, request, serving, wait_stop};
use crate::elf::{BOOT_TIMER, Code, GENERATION, IOAPIC, NET, SERIAL};
use crate::process::{resident_bytes, wait_threads};

pub(crate) const TESTS: &[Test] = &[
    (
        "garbage_to_virtio_registers_is_survived",
        garbage_to_virtio_registers_is_survived,
    ),
    (
        "garbage_in_virtqueues_is_survived",
        garbage_in_virtqueues_is_survived,
    ),
    (
        "generation_pages_outside_memory_are_forgotten",
        generation_pages_outside_memory_are_forgotten,
    ),
    (
        "garbage_to_the_io_apic_is_survived",
        garbage_to_the_io_apic_is_survived,
    ),
    ("floods_take_no_memory", floods_take_no_memory),
    (
        "garbage_to_every_port_is_survived",
        garbage_to_every_port_is_survived,
    ),
];

/// Runs `code` until it asks for a reset; the VMM must be none the worse for it.
fn survive(code: Code, prepare: impl FnOnce(&Vm)) -> Vm {
    let kernel = code.reset().image();
    let vm = Vm::boot(&hypervisor(), &config(), &kernel).unwrap();
    prepare(&vm);
    let before = resident_bytes();
    vm.start().unwrap();
    assert_eq!(wait_stop(&vm.handle()), StopReason::GuestReset);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 2 * MIB, "{grown} bytes more");
    vm
}

/// One access of any width to any offset of a device's window.
fn poke(code: Code, base: u32, random: &mut Random) -> Code {
    let offset = random.word() % 0x1000;
    // Mostly where registers are.
    let offset = if random.below(4) > 0 {
        (offset % 0x110) & !3
    } else {
        offset
    };
    let value = match random.below(3) {
        0 => random.word(),
        1 => random.word() % 16,
        _ => random.pick(&[0, 1, u32::MAX, 0x8000_0000, 0x7fff_ffff]),
    };
    match random.below(8) {
        0 => code.load(base + (offset & !3)),
        1 => code.store_8(base + offset, value.to_le_bytes()[0]),
        2 => code.store_16(base + offset, u16::try_from(value & 0xffff).unwrap()),
        _ => code.store(base + offset, value),
    }
}

fn pokes(base: u32, count: usize, seed: u64) -> Code {
    let mut random = Random::new(seed);
    (0..count).fold(Code::new(), |code, _| poke(code, base, &mut random))
}

fn garbage_to_virtio_registers_is_survived() {
    for seed in 1..=3 {
        let mut vm = survive(pokes(NET, 4_000, seed), |_| {});
        assert!(vm.pause().is_err());
    }
}

/// Registers of virtio-mmio (virtio 1.2, 4.2.2).
mod reg {
    pub(super) const DRIVER_FEATURES: u32 = 0x20;
    pub(super) const DRIVER_FEATURES_SEL: u32 = 0x24;
    pub(super) const QUEUE_SEL: u32 = 0x30;
    pub(super) const QUEUE_NUM: u32 = 0x38;
    pub(super) const QUEUE_READY: u32 = 0x44;
    pub(super) const QUEUE_NOTIFY: u32 = 0x50;
    pub(super) const STATUS: u32 = 0x70;
    pub(super) const QUEUE_DESC: u32 = 0x80;
    pub(super) const QUEUE_DRIVER: u32 = 0x90;
    pub(super) const QUEUE_DEVICE: u32 = 0xa0;
}

/// Sets the device up as a driver would, with rings anywhere.
fn set_up(mut code: Code, random: &mut Random) -> Code {
    const NOISE: [u32; 4] = [0x20_0000, 0x28_0000, 0x30_0000, 0x38_0000];
    const WORSE: [u32; 4] = [0x00ff_ffff, 0xc000_0000, 0xffff_f000, NET];
    for status in [0, 1, 3] {
        code = code.store(NET + reg::STATUS, status);
    }
    for (page, bits) in [(0, random.pick(&[0, 1 << 29, (1 << 29) | (1 << 5)])), (1, 1)] {
        code = code
            .store(NET + reg::DRIVER_FEATURES_SEL, page)
            .store(NET + reg::DRIVER_FEATURES, bits);
    }
    code = code.store(NET + reg::STATUS, 11);
    for queue in 0..2 {
        code = code.store(NET + reg::QUEUE_SEL, queue);
        code = code.store(NET + reg::QUEUE_NUM, random.pick(&[1, 2, 4, 64, 256]));
        for area in [reg::QUEUE_DESC, reg::QUEUE_DRIVER, reg::QUEUE_DEVICE] {
            let address = match random.below(8) {
                0 => random.pick(&WORSE),
                _ => random.pick(&NOISE) + (random.word() & 0xff0),
            };
            code = code
                .store(NET + area, address)
                .store(NET + area + 4, u32::from(random.below(32) == 0));
        }
        code = code.store(NET + reg::QUEUE_READY, 1);
    }
    code = code.store(NET + reg::STATUS, 15);
    for _ in 0..8 {
        code = code
            .store(NET + reg::QUEUE_NOTIFY, random.word() % 3)
            .load(NET + reg::STATUS);
    }
    code
}

fn garbage_in_virtqueues_is_survived() {
    for seed in 1..=4 {
        let mut random = Random::new(seed);
        let code = (0..60).fold(Code::new(), |code, _| set_up(code, &mut random));
        let vm = survive(code, |vm| {
            // Some rings of small numbers, which make some sense, and some of none at all.
            let noise: Vec<u8> = (0..2 * MIB / 4)
                .flat_map(|n| {
                    let word = random.word();
                    let sane = n % 8 < 4;
                    (if sane { word & 0x0003_00ff } else { word }).to_le_bytes()
                })
                .collect();
            vm.memory().write_slice(&noise, GuestAddress(2 * MIB)).unwrap();
            // Something to be received, which nobody will.
            drop(vm.net().unwrap().connect(80));
        });
        bounded("drop a hostile guest", || drop(vm));
        wait_threads(0);
    }
}

fn generation_pages_outside_memory_are_forgotten() {
    let pages: [u64; 10] = [
        0xffff_ffff_ffff_f000,
        0xffff_ffff_ffff_ffff,
        0x8000_0000_0000_0000,
        16 * MIB,
        16 * MIB - 1,
        0xc000_0000,
        u64::from(GENERATION),
        1 << 32,
        0x20_0001,
        0x20_0fc1,
    ];
    let register = |code: Code, page: u64| {
        let [low, high] = [page & 0xffff_ffff, page >> 32].map(|half| u32::try_from(half).unwrap());
        code.store(GENERATION + 8, low).store(GENERATION + 12, high)
    };
    let code = pages.into_iter().fold(Code::new(), register);
    survive(code, |_| {});
    survive(pokes(GENERATION, 2_000, 9), |_| {});
    // The last page of memory is a page.
    let vm = survive(register(Code::new(), 16 * MIB - 4096), |_| {});
    assert_eq!(
        vm.memory()
            .read_obj::<u32>(GuestAddress(16 * MIB - 4096))
            .unwrap(),
        2
    );
}

fn garbage_to_the_io_apic_is_survived() {
    let mut random = Random::new(11);
    let code = (0..2_000).fold(Code::new(), |code, _| match random.below(4) {
        0 => poke(code, IOAPIC, &mut random),
        _ => {
            let register = 0x10 + random.word() % 0x30;
            code.store(IOAPIC, register).store(IOAPIC + 0x10, random.word())
        }
    });
    survive(code, |_| {});
}

fn floods_take_no_memory() {
    let code = Code::new()
        .repeat(70_000, |code| code.out(SERIAL, b'x'))
        .repeat(5_000, |code| code.store(BOOT_TIMER, 9));
    let vm = survive(code, |_| {});
    assert_eq!(vm.handle().serial_text().len(), 64 << 10);
    assert_eq!(vm.handle().marks().len(), 64);
}

fn garbage_to_every_port_is_survived() {
    let mut random = Random::new(13);
    let port = |random: &mut Random| match u16::try_from(random.word() & 0xffff).unwrap() {
        // This one works.
        0x64 => 0x65,
        port => port,
    };
    let code = (0..3_000).fold(Code::new(), |code, n| {
        let port = if n % 2 == 0 {
            port(&mut random)
        } else {
            SERIAL + port(&mut random) % 8
        };
        code.out(port, random.word().to_le_bytes()[0])
    });
    survive(code, |_| {});
    // A guest that is well behaved is served beside all of this.
    let vm = serving(&hypervisor(), &VmConfig::default());
    assert_eq!(request(&vm, "/count"), "1");
}
