//! Why guests stop, and what is left of them.

use std::io::{Read, Write};
use std::iter;
use std::os::unix::net::UnixStream;

use vmm_core::{StopReason, Vm, VmError, VmStatus, WaitError};

use crate::common::{
    PATIENCE, Test, ask, bounded, config, connect, hypervisor, read_response, serving, stops, wait_stop,
};
use crate::elf::{BOOT_TIMER, Code, NOWHERE, SERIAL};

pub(crate) const TESTS: &[Test] = &[
    ("a_guest_that_exits_is_reset", a_guest_that_exits_is_reset),
    (
        "last_words_wait_for_a_late_reader",
        last_words_wait_for_a_late_reader,
    ),
    (
        "a_guest_that_crashes_triple_faults",
        a_guest_that_crashes_triple_faults,
    ),
    ("a_stopped_vm_stays_stopped", a_stopped_vm_stays_stopped),
    ("reads_from_nowhere_are_all_ones", reads_from_nowhere_are_all_ones),
    ("what_the_guest_prints_is_kept", what_the_guest_prints_is_kept),
];

fn a_guest_that_exits_is_reset() {
    let vm = serving(&hypervisor(), &config());
    let stopped = stops(&vm.handle());
    let mut stream = connect(&vm);
    ask(&mut stream, "/exit");
    assert_eq!(read_response(&mut stream), b"bye\n");
    assert_eq!(stopped.recv_timeout(PATIENCE).unwrap(), StopReason::GuestReset);
    assert!(stopped.recv().is_err(), "listeners are called once");
}

/// Bytes that a socket takes from the link before it is full.
fn socket_bytes() -> usize {
    let (mut ours, _theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    iter::from_fn(|| ours.write(&[0; 1460]).ok()).sum()
}

fn last_words_wait_for_a_late_reader() {
    let vm = serving(&hypervisor(), &config());
    let mut stream = connect(&vm);
    // The guest exits when all of its answer has been acknowledged: the socket is full then, and the link holds the rest.
    let body: Vec<u8> = (0..socket_bytes() + 20_000)
        .map(|i| (i ^ (i >> 8)).to_le_bytes()[0])
        .collect();
    write!(
        stream,
        "POST /echo HTTP/1.1\r\nHost: guest\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    stream.write_all(&body).unwrap();
    ask(&mut stream, "/exit");
    assert_eq!(wait_stop(&vm.handle()), StopReason::GuestReset);
    assert_eq!(
        vm.net().unwrap().connections(),
        0,
        "nothing is kept for the reader"
    );
    bounded("drop the VM", || drop(vm));
    assert!(read_response(&mut stream) == body, "another body");
    assert_eq!(read_response(&mut stream), b"bye\n");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

fn a_guest_that_crashes_triple_faults() {
    let vm = serving(&hypervisor(), &config());
    ask(&mut connect(&vm), "/crash");
    assert_eq!(wait_stop(&vm.handle()), StopReason::TripleFault);

    let vm = Vm::boot(&hypervisor(), &config(), &Code::new().fault().image()).unwrap();
    vm.start().unwrap();
    assert_eq!(wait_stop(&vm.handle()), StopReason::TripleFault);
}

fn a_stopped_vm_stays_stopped() {
    let mut vm = Vm::boot(&hypervisor(), &config(), &Code::new().mark(7).reset().image()).unwrap();
    let handle = vm.handle();
    vm.start().unwrap();
    let late = handle.wait_mark(8, PATIENCE).unwrap_err();
    let reason = StopReason::GuestReset;
    assert_eq!(late, WaitError::Stopped { number: 8, reason });
    assert_eq!(handle.wait_mark(7, PATIENCE).unwrap().number, 7);
    assert_eq!(vm.start(), Err(VmError::Stopped(reason)));
    assert_eq!(vm.pause().map(drop).unwrap_err(), VmError::Stopped(reason));
    drop(vm);
    assert_eq!(handle.status(), VmStatus::Stopped(reason));
    assert_eq!(wait_stop(&handle), reason);
}

fn reads_from_nowhere_are_all_ones() {
    let code = Code::new()
        .store(NOWHERE, 1)
        .load(NOWHERE + 8)
        .store_loaded(BOOT_TIMER);
    let vm = Vm::boot(&hypervisor(), &config(), &code.halt().image()).unwrap();
    vm.start().unwrap();
    vm.handle().wait_mark(u32::MAX, PATIENCE).unwrap();
}

fn what_the_guest_prints_is_kept() {
    let code = b"hi\xff!"
        .iter()
        .fold(Code::new(), |code, &byte| code.out(SERIAL, byte));
    let vm = Vm::boot(&hypervisor(), &config(), &code.reset().image()).unwrap();
    vm.start().unwrap();
    wait_stop(&vm.handle());
    assert_eq!(vm.handle().serial_text(), "hi\u{fffd}!");
}
