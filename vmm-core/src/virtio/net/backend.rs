//! What a network device needs of its host side.

use std::os::fd::RawFd;

/// An Ethernet frame for the guest, without checksum trailer: `header` and then the two parts of `body`, in place where
/// they are kept, so that they are copied only once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    /// The first bytes.
    pub header: &'a [u8],
    /// The rest; either part may be empty.
    pub body: [&'a [u8]; 2],
}

/// The host side of a network device.
///
/// It is driven by the device on the event loop's thread, in passes: [`wake`](Self::wake) if its descriptor was readable,
/// [`give`](Self::give) for each frame the guest sent, [`take`](Self::take) until it has nothing more or the guest has no
/// buffer left, and [`settle`](Self::settle) once the guest has its interrupt. It never drops a frame because the guest
/// has no buffer: it keeps what makes the frame, and is asked again.
pub(crate) trait NetBackend: Send {
    /// An epoll, tap or other descriptor that is readable while the host side has something to do. It stays open, and
    /// the same, for the whole life of the backend, and [`wake`](Self::wake) makes it unreadable even while the guest
    /// takes no frames.
    fn wake_fd(&self) -> RawFd;

    /// Takes note of what is ready on the host side.
    fn wake(&mut self);

    /// Takes one frame from the guest. It is untrusted and at most [`NetConfig::max_frame_bytes`] long.
    ///
    /// [`NetConfig::max_frame_bytes`]: super::NetConfig::max_frame_bytes
    fn give(&mut self, frame: &[u8]);

    /// Whether [`take`](Self::take) is likely to answer a frame. `false` is certain.
    fn has_frames(&self) -> bool;

    /// The next frame for the guest, at most [`NetConfig::max_frame_bytes`] long. It counts as sent.
    ///
    /// [`NetConfig::max_frame_bytes`]: super::NetConfig::max_frame_bytes
    fn take(&mut self) -> Option<Frame<'_>>;

    /// Does what could wait until the guest has its interrupt. Makes no new frames.
    fn settle(&mut self);
}
