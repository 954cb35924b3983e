//! What crosses between driver and device without an exit: ioeventfds.

use vmm_sys_util::eventfd::EventFd;

/// One ioeventfd the owner registers with KVM at the device's base address plus `offset`.
///
/// Writes are four bytes wide. `datamatch` is the value that triggers `fd`; other values still cause an exit and reach the
/// device as a plain register write, which works just as well.
#[derive(Debug)]
pub(crate) struct IoEventFd<'a> {
    /// Byte offset in the register window.
    pub offset: u64,
    /// The written value to match, or `None` for every value.
    pub datamatch: Option<u32>,
    /// The event to signal; it lives as long as the device.
    pub fd: &'a EventFd,
}
