//! A vCPU's thread: runs guest code while it has the vCPU, and otherwise waits to be given it.
//!
//! The [`Vcpu`] moves: into the thread to run, back into the mailbox when it stops. Whoever finds it in the mailbox may
//! read and change its state, so nothing is ever asked of a running vCPU and no lock is held across `KVM_RUN`.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::kick::{ExitFlag, ThreadId, allow_kicks};
use super::run_loop::{self, Buses, RunEnd};
use super::state::Vcpu;
use crate::lifecycle::{Lifecycle, StopReason};

/// Owner's side of a vCPU thread. Dropping it stops the vCPU and joins the thread.
#[derive(Debug)]
pub(crate) struct VcpuThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Guards the hand-over; never held while guest code runs.
    mailbox: Mutex<Mailbox>,
    changed: Condvar,
}

#[derive(Debug)]
struct Mailbox {
    slot: Slot,
    /// Where to kick; `None` before the thread has started and after it has ended.
    thread: Option<ThreadId>,
    exit_flag: ExitFlag,
    /// The running vCPU is to come back. Other signals interrupt `KVM_RUN` too: a debugger's, or the shell's Ctrl-Z.
    kicked: bool,
    ending: bool,
}

#[derive(Debug)]
enum Slot {
    /// Nobody runs it.
    Idle(Box<Vcpu>),
    /// To be run by the thread.
    Ready(Box<Vcpu>),
    /// In the thread's hands.
    Running,
}

impl VcpuThread {
    /// Starts a thread named `vcpu{id}` for `vcpu`; guest code runs only after [`run`](Self::run).
    pub(crate) fn spawn(id: u8, mut vcpu: Vcpu, buses: Buses, lifecycle: Arc<Lifecycle>) -> io::Result<Self> {
        let exit_flag = ExitFlag::of(&mut vcpu.fd);
        let mailbox = Mailbox {
            slot: Slot::Idle(Box::new(vcpu)),
            thread: None,
            exit_flag,
            kicked: false,
            ending: false,
        };
        let shared = Arc::new(Shared {
            mailbox: Mutex::new(mailbox),
            changed: Condvar::new(),
        });
        let thread = std::thread::Builder::new().name(format!("vcpu{id}")).spawn({
            let shared = Arc::clone(&shared);
            move || shared.serve(&buses, &lifecycle)
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Lets the vCPU run. No effect when it runs already.
    pub(crate) fn run(&self) {
        let mut mailbox = self.shared.lock();
        mailbox.slot = match std::mem::replace(&mut mailbox.slot, Slot::Running) {
            Slot::Idle(vcpu) => Slot::Ready(vcpu),
            slot => slot,
        };
        // Unlocked first: the thread would wake only to wait for the lock.
        drop(mailbox);
        self.shared.changed.notify_all();
    }

    /// Stops the vCPU and waits until it has stopped; its registers are then whole. At most some tens of microseconds.
    pub(crate) fn pause(&self) {
        let mut mailbox = self.shared.lock();
        loop {
            mailbox.slot = match std::mem::replace(&mut mailbox.slot, Slot::Running) {
                // The thread has not taken it yet: take it back.
                Slot::Ready(vcpu) => Slot::Idle(vcpu),
                slot => slot,
            };
            match mailbox.slot {
                Slot::Idle(_) => return,
                Slot::Ready(_) | Slot::Running => {
                    mailbox.kick();
                    mailbox = self
                        .shared
                        .changed
                        .wait(mailbox)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Something that stops the vCPU when called; does nothing once the thread is gone.
    pub(crate) fn stopper(&self) -> impl FnOnce() + Send + use<> {
        let shared = Arc::downgrade(&self.shared);
        move || {
            if let Some(shared) = shared.upgrade() {
                let mut mailbox = shared.lock();
                if matches!(mailbox.slot, Slot::Running) {
                    mailbox.kick();
                }
            }
        }
    }

    /// Calls `f` with the vCPU, or returns `None` when it is running.
    pub(crate) fn with_idle<T>(&self, f: impl FnOnce(&mut Vcpu) -> T) -> Option<T> {
        match &mut self.shared.lock().slot {
            Slot::Idle(vcpu) => Some(f(vcpu)),
            Slot::Ready(_) | Slot::Running => None,
        }
    }
}

impl Drop for VcpuThread {
    fn drop(&mut self) {
        let mut mailbox = self.shared.lock();
        mailbox.ending = true;
        if matches!(mailbox.slot, Slot::Running) {
            mailbox.kick();
        }
        drop(mailbox);
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It only fails when the thread panicked, which the panic hook has reported.
            let _ = thread.join();
        }
    }
}

impl Mailbox {
    fn kick(&mut self) {
        self.kicked = true;
        // SAFETY: the vCPU is dropped only together with the mailbox, so its run page is mapped.
        unsafe { self.exit_flag.set(1) };
        if let Some(thread) = self.thread {
            // SAFETY: the thread clears this field, under the mailbox's lock, before it ends.
            unsafe { thread.signal() };
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, buses: &Buses, lifecycle: &Lifecycle) {
        allow_kicks();
        let mut mailbox = self.lock();
        mailbox.thread = Some(ThreadId::current());
        while !mailbox.ending {
            mailbox.slot = match std::mem::replace(&mut mailbox.slot, Slot::Running) {
                Slot::Ready(mut vcpu) => {
                    vcpu.about_to_run();
                    // SAFETY: `vcpu` is open; it is in this function's hands.
                    unsafe { mailbox.exit_flag.set(0) };
                    mailbox.kicked = false;
                    drop(mailbox);
                    // A device that panics must not take the thread with it: others wait for the vCPU to come back.
                    let run = AssertUnwindSafe(|| run_loop::run(&mut vcpu.fd, buses));
                    let end = catch_unwind(run).unwrap_or(RunEnd::Stopped(StopReason::DeviceFailed));
                    mailbox = self.lock();
                    match end {
                        RunEnd::Kicked if !mailbox.kicked => Slot::Ready(vcpu),
                        RunEnd::Kicked => {
                            self.changed.notify_all();
                            Slot::Idle(vcpu)
                        }
                        RunEnd::Stopped(reason) => {
                            // Listeners may pause or drop the VM: the vCPU is back in the mailbox, unlocked, before they hear of it.
                            mailbox.slot = Slot::Idle(vcpu);
                            drop(mailbox);
                            self.changed.notify_all();
                            lifecycle.stop(reason).tell();
                            mailbox = self.lock();
                            continue;
                        }
                    }
                }
                slot => {
                    mailbox.slot = slot;
                    mailbox = self.changed.wait(mailbox).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
            };
        }
        mailbox.thread = None;
    }
}
