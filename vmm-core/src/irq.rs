//! Interrupt lines: one edge pulse through an irqfd.

use std::io;
use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

/// One interrupt line of the guest; raising it is one eventfd write, from any thread.
#[derive(Debug, Clone)]
pub(crate) struct IrqLine(Arc<EventFd>);

impl IrqLine {
    /// The line that `irqfd` is registered for.
    #[must_use]
    pub(crate) const fn new(irqfd: Arc<EventFd>) -> Self {
        Self(irqfd)
    }

    /// Raises one edge. Pulses that the guest has not taken yet collapse into one.
    ///
    /// # Errors
    /// The eventfd's counter is saturated, which takes 2⁶⁴ pulses without a VM behind it.
    pub(crate) fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}
