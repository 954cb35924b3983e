//! The frames' buffers and who has them: the device or the driver.

use core::cell::UnsafeCell;

use guest_kernel::Queue;

use super::transport::{COUNT, LEN, gpa};

/// `struct virtio_net_hdr` as version 1 has it; all zero, since no offload is negotiated.
const HEADER_LEN: usize = 12;
/// Longest frame: a header and an MTU of 1,500.
pub(super) const FRAME_LEN: usize = 1514;
const BUFFER_LEN: usize = HEADER_LEN + FRAME_LEN;
/// Where the sending buffer of a page begins.
const SEND_AT: usize = 2048;

/// One receiving and one sending buffer. A reply is put beside its request, so that a wake writes one page for both.
#[repr(C, align(4096))]
struct Page(UnsafeCell<[u8; 4096]>);

// SAFETY: `Net` alone uses the pages, and there is one `Net`; see `Receive::frame` and `Transmit::send`.
unsafe impl Sync for Page {}

static PAGES: [Page; LEN] = [const { Page(UnsafeCell::new([0; 4096])) }; LEN];

fn buffer(id: u16, at: usize) -> *mut u8 {
    PAGES[usize::from(id) % LEN].0.get().cast::<u8>().wrapping_add(at)
}

/// The receiving half.
#[derive(Debug)]
pub(super) struct Receive {
    pub(super) queue: Queue<LEN>,
    /// The buffer received last.
    pub(super) last: u16,
}

impl Receive {
    pub(super) fn new(mut queue: Queue<LEN>) -> Self {
        for id in 0..COUNT {
            queue.describe(id, gpa(buffer(id, 0)), u32::try_from(BUFFER_LEN).ok());
            queue.offer(id);
        }
        Self { queue, last: 0 }
    }

    /// The next received frame; empty if the device gave a length that cannot be.
    pub(super) fn frame(&self) -> Option<&[u8]> {
        let used = self.queue.peek()?;
        let len = usize::try_from(used.len).unwrap_or(0);
        let frame_len = if (HEADER_LEN..=BUFFER_LEN).contains(&len) {
            len - HEADER_LEN
        } else {
            0
        };
        // SAFETY: within the page, initialised, and the driver's: the device has given the buffer back, and
        // it is offered again only by `recycle`, which needs this half mutably.
        Some(unsafe { core::slice::from_raw_parts(buffer(used.id, HEADER_LEN), frame_len) })
    }

    /// Gives the buffer of the next received frame back to the device.
    pub(super) fn recycle(&mut self) {
        if let Some(used) = self.queue.take() {
            self.last = used.id;
            self.queue.offer(used.id);
        }
    }
}

/// The sending half.
#[derive(Debug)]
pub(super) struct Transmit {
    pub(super) queue: Queue<LEN>,
    /// One bit for each buffer that the device does not have.
    pub(super) free: u32,
}

impl Transmit {
    pub(super) fn new(queue: Queue<LEN>) -> Self {
        for id in 0..COUNT {
            queue.describe(id, gpa(buffer(id, SEND_AT)), None);
        }
        Self {
            queue,
            free: u32::MAX,
        }
    }

    /// Whether there is a free buffer, after a look at what has been sent.
    pub(super) fn has_room(&mut self) -> bool {
        while let Some(used) = self.queue.take() {
            self.free |= 1 << used.id;
        }
        self.free != 0
    }

    /// A free buffer: that of page `near` if possible. Only after [`has_room`](Self::has_room).
    fn pick(&mut self, near: u16) -> u16 {
        let near = 1_u32 << (near % COUNT);
        let bit = if self.free & near != 0 {
            near
        } else {
            self.free & self.free.wrapping_neg()
        };
        self.free &= !bit;
        u16::try_from(bit.trailing_zeros()).unwrap_or(0) % COUNT
    }

    pub(super) fn send<R>(&mut self, near: u16, frame_len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let id = self.pick(near);
        let len = HEADER_LEN + frame_len.min(FRAME_LEN);
        // SAFETY: within the page, initialised, and the driver's: the device gave the buffer back or never had it, and
        // gets it only below. The header in front stays as zero as it is.
        let frame =
            unsafe { core::slice::from_raw_parts_mut(buffer(id, SEND_AT + HEADER_LEN), len - HEADER_LEN) };
        let result = fill(frame);
        self.queue.set_len(id, u32::try_from(len).unwrap_or(0));
        self.queue.offer(id);
        result
    }
}
