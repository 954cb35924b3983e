//! What other threads may ask of a VM.

use std::sync::Arc;
use std::time::Duration;

use crate::devices::serial::SerialLog;
use crate::lifecycle::{Lifecycle, Mark, StopReason, VmStatus, WaitError};

/// A view of one VM for any thread; valid after the VM is gone, too. Nothing but [`wait_mark`](Self::wait_mark) blocks.
#[derive(Debug, Clone)]
pub struct VmHandle {
    lifecycle: Arc<Lifecycle>,
    serial: SerialLog,
}

impl VmHandle {
    pub(crate) const fn new(lifecycle: Arc<Lifecycle>, serial: SerialLog) -> Self {
        Self { lifecycle, serial }
    }

    /// What the VM is doing.
    #[must_use]
    pub fn status(&self) -> VmStatus {
        self.lifecycle.status()
    }

    /// Calls `listener` once when the VM stops for good: on the thread of the VM that noticed, or on the caller's, at once, if it
    /// has stopped already. The VM's other listeners wait meanwhile, so it should be short; it must not drop the VM, whose
    /// threads would then wait for themselves.
    pub fn on_stop(&self, listener: impl FnOnce(StopReason) + Send + 'static) {
        self.lifecycle.on_stop(Box::new(listener));
    }

    /// The points the guest says it has reached, oldest first; at most 64.
    #[must_use]
    pub fn marks(&self) -> Vec<Mark> {
        self.lifecycle.marks()
    }

    /// Waits until the guest has written mark `number` to the boot timer. Blocks the thread.
    ///
    /// # Errors
    /// It did not in time, or the VM stopped first.
    pub fn wait_mark(&self, number: u32, timeout: Duration) -> Result<Mark, WaitError> {
        self.lifecycle.wait_mark(number, timeout)
    }

    /// The last 64 KiB the guest printed. Untrusted text: escape it before showing it.
    #[must_use]
    pub fn serial_text(&self) -> String {
        self.serial.text()
    }
}
