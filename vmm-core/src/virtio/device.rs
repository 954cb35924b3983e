//! The contract between the transport and what a device does.

use std::os::fd::RawFd;

use vm_memory::GuestMemoryMmap;

use super::ring::{Ring, RingError};

/// What one kind of device does with its rings; [`VirtioMmio`](super::VirtioMmio) does everything else.
///
/// All methods run with the device's lock held, on the event loop's thread or, while that is blocked, on the thread that
/// saves, restores or kicks the device.
pub(crate) trait VirtioDevice: Send {
    /// The virtio device id (virtio 1.2, section 5).
    const ID: u32;

    /// The feature bits on offer. The same for the whole life of the device.
    fn features(&self) -> u64;

    /// The largest size of each queue, each a power of two. The same for the whole life of the device.
    fn queue_sizes(&self) -> &[u16];

    /// The configuration space. The driver cannot write it.
    fn config(&self) -> &[u8];

    /// A file descriptor that is readable while the host side has something to do, if there is one. It stays the same,
    /// and open, for the whole life of the device.
    fn wake_fd(&self) -> Option<RawFd>;

    /// [`wake_fd`](Self::wake_fd) is readable: take note of what the host side has. Work on the rings follows in
    /// [`run`](Self::run).
    fn wake(&mut self);

    /// Does everything that can be done on the rings now; a ring the driver has not set up is `None`. Answers what the
    /// pass needs.
    ///
    /// # Errors
    /// The driver broke a ring: the device stops until it is reset.
    fn run(&mut self, mem: &GuestMemoryMmap, rings: &mut [Option<Ring>]) -> Result<Pass, RingError>;

    /// Descriptor chains so far that were given back unused because they made no sense.
    fn malformed_chains(&self) -> u64;

    /// Called after [`run`](Self::run) once the guest has its interrupt, for what may wait that long.
    fn settle(&mut self);
}

/// What a pass over the rings leaves to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    /// The driver wants an interrupt for what was done.
    pub interrupt: bool,
    /// The pass was cut short for fairness and there is more to do now.
    pub again: bool,
}
