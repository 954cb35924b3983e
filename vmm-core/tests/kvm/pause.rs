//! Pausing: at any time, promptly, and without a loss.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use vm_memory::{Bytes, GuestAddress};
use vmm_core::{Vm, VmStatus};

use crate::common::{
    Test, ask, bounded, config, connect, get, hypervisor, read_response, request, serving, settle, wait_busy,
    wait_stop,
};
use crate::elf::Code;
use crate::process::wait_threads;

pub(crate) const TESTS: &[Test] = &[
    ("pauses_lose_nothing", pauses_lose_nothing),
    (
        "a_guest_that_spins_is_paused_promptly",
        a_guest_that_spins_is_paused_promptly,
    ),
    ("a_paused_guest_stands_still", a_paused_guest_stands_still),
    (
        "quiet_is_halted_with_nothing_under_way",
        quiet_is_halted_with_nothing_under_way,
    ),
    (
        "threads_end_with_the_vm_in_every_state",
        threads_end_with_the_vm_in_every_state,
    ),
];

fn pauses_lose_nothing() {
    let mut vm = serving(&hypervisor(), &config());
    let mut stream = connect(&vm);
    let ended = AtomicBool::new(false);
    let answered = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut n = 0_u32;
            while !ended.load(Ordering::Relaxed) {
                n += 1;
                assert_eq!(get(&mut stream, "/count"), n.to_string());
            }
            n
        });
        for _ in 0..200 {
            vm.pause().unwrap();
            assert_eq!(vm.handle().status(), VmStatus::Paused);
            vm.start().unwrap();
        }
        ended.store(true, Ordering::Relaxed);
        client.join().unwrap()
    });
    assert_eq!(request(&vm, "/count"), (answered + 1).to_string());
}

fn a_guest_that_spins_is_paused_promptly() {
    let mut vm = serving(&hypervisor(), &config());
    let mut stream = connect(&vm);
    let begun = Instant::now();
    ask(&mut stream, "/burn?ms=2000");
    for _ in 0..50 {
        bounded("pause a spinning guest", || vm.pause().unwrap().resume().unwrap());
    }
    let paused_after = begun.elapsed();
    read_response(&mut stream);
    assert!(paused_after < begun.elapsed(), "50 pauses outlasted the burn");

    // And one that never leaves the guest by itself.
    let mut spinning = Vm::boot(&hypervisor(), &config(), &Code::new().mark(7).spin().image()).unwrap();
    spinning.start().unwrap();
    spinning.handle().wait_mark(7, Duration::MAX).unwrap();
    for _ in 0..50 {
        bounded("pause a spinning guest", || {
            spinning.pause().unwrap().resume().unwrap();
        });
    }
    bounded("drop a spinning guest", || drop(spinning));
}

fn a_paused_guest_stands_still() {
    let mut vm = serving(&hypervisor(), &config());
    let mut stream = connect(&vm);
    assert_eq!(get(&mut stream, "/count"), "1");
    settle(&mut vm);
    let handle = vm.handle();
    let paused = vm.pause().unwrap();
    let contents = || {
        let mut bytes = vec![0; usize::try_from(config().memory_bytes).unwrap()];
        paused.memory().read_slice(&mut bytes, GuestAddress(0)).unwrap();
        bytes
    };
    let before = contents();
    ask(&mut stream, "/count");
    paused.save().unwrap();
    assert!(before == contents(), "memory changed while the VM was paused");
    assert_eq!(handle.status(), VmStatus::Paused);
    paused.resume().unwrap();
    assert_eq!(read_response(&mut stream), b"2");
}

fn quiet_is_halted_with_nothing_under_way() {
    let mut vm = serving(&hypervisor(), &config());
    settle(&mut vm);
    assert!(vm.net().unwrap().is_quiet());

    let mut stream = connect(&vm);
    ask(&mut stream, "/burn?ms=1000");
    wait_busy(&mut vm);
    let paused = vm.pause().unwrap();
    assert!(!paused.is_quiet().unwrap());
    paused.resume().unwrap();
    read_response(&mut stream);
    settle(&mut vm);

    // Halted with interrupts off is halted, too.
    let mut halted = Vm::boot(&hypervisor(), &config(), &Code::new().mark(7).halt().image()).unwrap();
    halted.start().unwrap();
    assert!(halted.settle(Duration::MAX).unwrap());
}

fn threads_end_with_the_vm_in_every_state() {
    let hypervisor = hypervisor();
    wait_threads(0);
    let created = Vm::boot(&hypervisor, &config(), guest::ELF).unwrap();
    assert_eq!(created.handle().status(), VmStatus::Created);
    // A thread has its name a moment after it has begun.
    wait_threads(2);
    let running = serving(&hypervisor, &config());
    let mut paused = serving(&hypervisor, &config());
    paused.pause().unwrap();
    let mut created_and_paused = Vm::boot(&hypervisor, &config(), guest::ELF).unwrap();
    created_and_paused.pause().unwrap();
    let stopped = Vm::boot(&hypervisor, &config(), &Code::new().fault().image()).unwrap();
    stopped.start().unwrap();
    wait_stop(&stopped.handle());
    let mut left = 10;
    wait_threads(left);
    for vm in [created, running, paused, created_and_paused, stopped] {
        bounded("drop a VM", || drop(vm));
        left -= 2;
        wait_threads(left);
    }
}
