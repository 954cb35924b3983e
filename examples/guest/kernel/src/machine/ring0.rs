//! The Rust side of `ring0.s`.

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::fmt::Write;
use core::sync::atomic::{AtomicU8, Ordering};

use super::{Line, print, stop};

const STACK_LEN: usize = 64 << 10;

/// Ring 3's stack. Only the CPU touches it.
#[repr(C, align(4096))]
struct Stack(UnsafeCell<[u8; STACK_LEN]>);

// SAFETY: nothing in Rust ever forms a reference to the contents.
unsafe impl Sync for Stack {}

#[unsafe(link_section = ".bss.stack")]
static STACK: Stack = Stack(UnsafeCell::new([0; STACK_LEN]));

/// Set to 1 by the interrupt handlers, one flag for each [`Line`].
#[unsafe(link_section = ".hot.pending")]
static PENDING: [AtomicU8; 4] = [const { AtomicU8::new(0) }; 4];

global_asm!(
    include_str!("ring0.s"),
    start = sym crate::start::start,
    fault = sym fault,
    stack = sym STACK,
    stack_len = const STACK_LEN,
    pending = sym PENDING,
);

unsafe extern "C" {
    #[link_name = "idle"]
    fn idle_in_ring0();
    static idt: [UnsafeIdtEntry; 36];
}

type UnsafeIdtEntry = UnsafeCell<[u64; 2]>;

/// Sleeps until an interrupt; returns at once if one has come since the last time.
pub(crate) fn idle() {
    // SAFETY: a plain call: `hlt` faults into the ring-0 handler, which keeps all registers and comes back behind it.
    unsafe { idle_in_ring0() };
}

/// Whether `line` has interrupted since it was last asked. Interrupts are only taken in [`idle`], so that nothing
/// can come between the two accesses.
pub(crate) fn take_pending(line: Line) -> bool {
    let flag = &PENDING[usize::from(line as u8)];
    let pending = flag.load(Ordering::Relaxed) != 0;
    if pending {
        flag.store(0, Ordering::Relaxed);
    }
    pending
}

/// Dies as a kernel with a fatal bug does: an exception that no handler can be found for, a triple fault.
pub(crate) fn crash() -> ! {
    // SAFETY: taking the address of the table that `ring0.s` defines, 36 gates of 16 bytes.
    let table = unsafe { &idt };
    for gate in table {
        // SAFETY: the table is ordinary writable memory; no gate is in use, since ring 3 runs with interrupts off.
        unsafe { gate.get().write_volatile([0; 2]) };
    }
    // SAFETY: never comes back: the exception itself cannot be delivered.
    unsafe { asm!("ud2", options(noreturn)) }
}

/// Where ring 0 sends every exception but that of [`idle`]. It runs on an emptied stack: nothing returns.
extern "C" fn fault(vector: u64, code: u64, rip: u64, address: u64) -> ! {
    let _ = writeln!(
        print(),
        "fault {vector} code {code:#x} rip {rip:#x} address {address:#x}"
    );
    stop()
}
