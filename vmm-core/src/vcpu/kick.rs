//! Stopping a vCPU from another thread without a race (kernel `Documentation/virt/kvm/api.rst`, 5, `immediate_exit`).
//!
//! The flag in the shared run page is set first, then the thread is signalled. Whether the signal lands before, during or
//! after `KVM_RUN`'s entry, the call returns `EINTR`; the handler itself has nothing to do.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use kvm_ioctls::VcpuFd;
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler, unblock_signal};

extern "C" fn on_kick(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// Gives the kick signal (`SIGRTMIN`) a handler that does nothing, so that it interrupts and does not kill.
pub(crate) fn install_kick_signal() -> io::Result<()> {
    register_signal_handler(SIGRTMIN(), on_kick).map_err(io::Error::from)
}

/// Lets the calling thread be kicked, whatever signals it was born with blocked: an embedder may block all of them.
pub(super) fn allow_kicks() {
    // It only fails for a number that is no signal.
    let unblocked = unblock_signal(SIGRTMIN());
    debug_assert!(unblocked.is_ok(), "SIGRTMIN is a signal");
}

/// The `immediate_exit` byte of one vCPU's run page.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExitFlag(NonNull<u8>);

// SAFETY: the byte is only accessed atomically, which any thread may do; that it is still mapped is the owner's duty (see `of`).
unsafe impl Send for ExitFlag {}

impl ExitFlag {
    /// The flag of `vcpu`. Must not be used after `vcpu` is dropped, which unmaps it.
    pub(super) fn of(vcpu: &mut VcpuFd) -> Self {
        let run = vcpu.get_kvm_run();
        Self(NonNull::from(&mut run.immediate_exit))
    }

    /// # Safety
    /// The vCPU this flag was taken from is still open.
    pub(super) unsafe fn set(self, value: u8) {
        // SAFETY: a byte is always aligned, and valid because the vCPU's run page is mapped (caller). The page is shared with the
        // kernel, which reads it at any time. While the thread runs the vCPU nobody else writes the byte but through this
        // function, atomically; kvm-ioctls only touches other fields of the page then.
        let flag = unsafe { AtomicU8::from_ptr(self.0.as_ptr()) };
        flag.store(value, Ordering::Release);
    }
}

/// A thread that can be signalled.
#[derive(Debug, Clone, Copy)]
pub(super) struct ThreadId(libc::pthread_t);

impl ThreadId {
    pub(super) fn current() -> Self {
        // SAFETY: pthread_self has no preconditions.
        Self(unsafe { libc::pthread_self() })
    }

    /// Sends the kick signal.
    ///
    /// # Safety
    /// The thread has not ended.
    pub(super) unsafe fn signal(self) {
        // SAFETY: the thread is alive (caller) and SIGRTMIN is a valid signal with a handler (`install_kick_signal`).
        let status = unsafe { libc::pthread_kill(self.0, SIGRTMIN()) };
        debug_assert_eq!(status, 0, "a living thread and a valid signal");
    }
}
