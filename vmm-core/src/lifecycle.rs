//! What a VM is doing, and why it stopped.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a VM is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VmStatus {
    /// Built or restored; no guest instruction has run yet.
    Created,
    /// Running, or halted and waiting for an interrupt.
    Running,
    /// Stopped between two instructions; can go on.
    Paused,
    /// Cannot go on.
    Stopped(StopReason),
}

/// Why a VM cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StopReason {
    /// The guest asked for it: it wrote the reset command to port 0x64.
    #[error("the guest asked for a reset")]
    GuestReset,
    /// The guest took an exception that it could not handle, nor the next, nor the next.
    #[error("the guest triple-faulted")]
    TripleFault,
    /// KVM reported a system event (kernel `api.rst`, `KVM_EXIT_SYSTEM_EVENT`).
    #[error("system event {kind}")]
    SystemEvent {
        /// The event's number.
        kind: u32,
    },
    /// The processor refused to enter the guest: its state is invalid.
    #[error("guest entry refused (hardware reason {reason:#x})")]
    EntryRefused {
        /// Hardware's code.
        reason: u64,
    },
    /// KVM met an instruction it can neither run nor emulate.
    #[error("KVM internal error {suberror} at rip {rip:#x} (1 = instruction not emulated)")]
    EmulationFailed {
        /// KVM's code.
        suberror: u32,
        /// Address of the instruction.
        rip: u64,
    },
    /// `KVM_RUN` failed.
    #[error("KVM_RUN failed: {}", io::Error::from_raw_os_error(*.errno))]
    RunFailed {
        /// The error number.
        errno: i32,
    },
    /// A thread of the VM's devices panicked or failed: a bug here, reported by the panic hook or the log.
    #[error("a device of the VM failed; this is a bug of the VMM")]
    DeviceFailed,
    /// An exit that a VM of this crate cannot cause.
    #[error("unexpected exit from the guest")]
    UnexpectedExit,
}

/// A point that the guest says it has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mark {
    /// Which point; the guest's number for it.
    pub number: u32,
    /// When the guest's write arrived here.
    pub at: Instant,
}

/// A mark did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// Not in time.
    #[error("the guest did not reach mark {number} within {} ms", .timeout.as_millis())]
    TimedOut {
        /// The mark.
        number: u32,
        /// How long was waited.
        timeout: Duration,
    },
    /// The VM stopped first.
    #[error("the guest stopped before it reached mark {number}: {reason}")]
    Stopped {
        /// The mark.
        number: u32,
        /// Why it stopped.
        reason: StopReason,
    },
}

/// Marks that are kept: a guest that writes on and on costs no memory.
const MAX_MARKS: usize = 64;

/// A VM that has just stopped, and who is to hear of it.
#[must_use = "listeners wait to be told"]
pub(crate) struct Stopped {
    reason: StopReason,
    listeners: Vec<StopListener>,
}

impl Stopped {
    /// Calls the listeners. They are the user's code: one that panics does not keep the others, or this thread, from going on.
    pub(crate) fn tell(self) {
        for listener in self.listeners {
            // The panic hook has reported it.
            let _ = catch_unwind(AssertUnwindSafe(|| listener(self.reason)));
        }
    }
}

/// The state and progress of one VM, shared by its owner, its threads and its handles.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    /// Guards status and marks alone; no other lock is taken while it is held.
    progress: Mutex<Progress>,
    changed: Condvar,
}

/// Called once, when the VM has stopped.
type StopListener = Box<dyn FnOnce(StopReason) + Send>;

struct Progress {
    status: VmStatus,
    marks: Vec<Mark>,
    listeners: Vec<StopListener>,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("status", &self.status)
            .field("marks", &self.marks)
            .finish_non_exhaustive()
    }
}

impl Lifecycle {
    pub(crate) fn new() -> Self {
        let progress = Progress {
            status: VmStatus::Created,
            marks: Vec::with_capacity(MAX_MARKS),
            listeners: Vec::new(),
        };
        Self {
            progress: Mutex::new(progress),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn status(&self) -> VmStatus {
        self.lock().status
    }

    /// Calls `listener` when the VM stops; at once if it has.
    pub(crate) fn on_stop(&self, listener: StopListener) {
        let mut progress = self.lock();
        if let VmStatus::Stopped(reason) = progress.status {
            drop(progress);
            listener(reason);
        } else {
            progress.listeners.push(listener);
        }
    }

    /// Moves to `next` unless the VM has stopped; says which status holds now.
    pub(crate) fn advance(&self, next: VmStatus) -> VmStatus {
        let mut progress = self.lock();
        if !matches!(progress.status, VmStatus::Stopped(_)) {
            progress.status = next;
        }
        progress.status
    }

    /// The first reason stays. The caller tells the listeners once it holds no lock and nobody waits for it.
    pub(crate) fn stop(&self, reason: StopReason) -> Stopped {
        let mut progress = self.lock();
        if matches!(progress.status, VmStatus::Stopped(_)) {
            return Stopped {
                reason,
                listeners: Vec::new(),
            };
        }
        progress.status = VmStatus::Stopped(reason);
        let listeners = std::mem::take(&mut progress.listeners);
        drop(progress);
        self.changed.notify_all();
        Stopped { reason, listeners }
    }

    /// The guest's marks, oldest first; at most the first 64.
    pub(crate) fn marks(&self) -> Vec<Mark> {
        self.lock().marks.clone()
    }

    pub(crate) fn mark(&self, mark: Mark) {
        let mut progress = self.lock();
        if progress.marks.len() < MAX_MARKS {
            progress.marks.push(mark);
            self.changed.notify_all();
        }
    }

    /// Waits for the first mark with this number.
    pub(crate) fn wait_mark(&self, number: u32, timeout: Duration) -> Result<Mark, WaitError> {
        let found = |progress: &Progress| progress.marks.iter().find(|mark| mark.number == number).copied();
        let waiting = |progress: &mut Progress| {
            found(progress).is_none() && !matches!(progress.status, VmStatus::Stopped(_))
        };
        let (progress, _) = self
            .changed
            .wait_timeout_while(self.lock(), timeout, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        match (found(&progress), progress.status) {
            (Some(mark), _) => Ok(mark),
            (None, VmStatus::Stopped(reason)) => Err(WaitError::Stopped { number, reason }),
            (None, _) => Err(WaitError::TimedOut { number, timeout }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_stop_reason_stays() {
        let lifecycle = Lifecycle::new();
        lifecycle.stop(StopReason::TripleFault).tell();
        lifecycle.stop(StopReason::GuestReset).tell();
        assert_eq!(
            lifecycle.advance(VmStatus::Running),
            VmStatus::Stopped(StopReason::TripleFault)
        );
    }

    #[test]
    fn listeners_hear_of_the_stop_once_however_late_they_come() {
        let lifecycle = Lifecycle::new();
        let (heard, reasons) = std::sync::mpsc::channel();
        let listener =
            |heard: std::sync::mpsc::Sender<_>| Box::new(move |reason| heard.send(reason).unwrap());
        lifecycle.on_stop(listener(heard.clone()));
        lifecycle.stop(StopReason::TripleFault).tell();
        lifecycle.stop(StopReason::GuestReset).tell();
        lifecycle.on_stop(listener(heard));
        assert_eq!(reasons.iter().collect::<Vec<_>>(), [StopReason::TripleFault; 2]);
    }

    #[test]
    fn marks_are_kept_in_order_and_bounded() {
        let lifecycle = Lifecycle::new();
        for number in 0..1000 {
            lifecycle.mark(Mark {
                number,
                at: Instant::now(),
            });
        }
        let numbers: Vec<_> = lifecycle.marks().iter().map(|mark| mark.number).collect();
        assert_eq!(numbers, (0..64).collect::<Vec<_>>());
    }

    #[test]
    fn waiting_ends_with_the_mark_or_the_stop_or_the_time() {
        let lifecycle = Lifecycle::new();
        lifecycle.mark(Mark {
            number: 2,
            at: Instant::now(),
        });
        assert_eq!(lifecycle.wait_mark(2, Duration::ZERO).unwrap().number, 2);
        let late = lifecycle.wait_mark(4, Duration::ZERO).unwrap_err();
        assert!(matches!(late, WaitError::TimedOut { number: 4, .. }));
        lifecycle.stop(StopReason::TripleFault).tell();
        let stopped = lifecycle.wait_mark(4, Duration::MAX).unwrap_err();
        assert!(matches!(
            stopped,
            WaitError::Stopped {
                reason: StopReason::TripleFault,
                ..
            }
        ));
    }
}
