//! The driver's side of a split virtqueue (virtio 1.2, section 2.7) with event indices (2.7.10).
//!
//! Each descriptor stands for one buffer of its own, so a descriptor's index is the buffer's id and no free list of
//! descriptors is needed. The ring is shared with the device, hence all atomics and no references to its bytes.

use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

/// The memory of a queue with `N` descriptors, laid out as the device reads it. `N` is a power of two.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct Ring<const N: usize> {
    descriptors: [Descriptor; N],
    available: Available<N>,
    used: UsedRing<N>,
}

#[repr(C)]
#[derive(Debug)]
struct Descriptor {
    address: AtomicU64,
    len: AtomicU32,
    flags: AtomicU16,
    next: AtomicU16,
}

#[repr(C)]
#[derive(Debug)]
struct Available<const N: usize> {
    flags: AtomicU16,
    index: AtomicU16,
    ring: [AtomicU16; N],
    used_event: AtomicU16,
}

#[repr(C, align(4))]
#[derive(Debug)]
struct UsedRing<const N: usize> {
    flags: AtomicU16,
    index: AtomicU16,
    ring: [UsedElement; N],
    available_event: AtomicU16,
}

#[repr(C)]
#[derive(Debug)]
struct UsedElement {
    id: AtomicU32,
    len: AtomicU32,
}

impl<const N: usize> Ring<N> {
    /// Number of descriptors, as the device wants to know it.
    pub const LEN: u16 = {
        assert!(N.is_power_of_two() && N <= 1024);
        #[expect(clippy::cast_possible_truncation, reason = "the line above holds it to 1,024")]
        let len = N as u16;
        len
    };

    /// An empty ring.
    pub const fn new() -> Self {
        const fn zero() -> AtomicU16 {
            AtomicU16::new(0)
        }
        Self {
            descriptors: [const {
                Descriptor {
                    address: AtomicU64::new(0),
                    len: AtomicU32::new(0),
                    flags: zero(),
                    next: zero(),
                }
            }; N],
            available: Available {
                flags: zero(),
                index: zero(),
                ring: [const { zero() }; N],
                used_event: zero(),
            },
            used: UsedRing {
                flags: zero(),
                index: zero(),
                ring: [const {
                    UsedElement {
                        id: AtomicU32::new(0),
                        len: AtomicU32::new(0),
                    }
                }; N],
                available_event: zero(),
            },
        }
    }

    /// Addresses of the descriptor, available and used rings, in this order.
    pub fn addresses(&self) -> [*const u8; 3] {
        [
            (&raw const self.descriptors).cast(),
            (&raw const self.available).cast(),
            (&raw const self.used).cast(),
        ]
    }
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// A buffer that the device gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// The buffer's id, below `N`.
    pub id: u16,
    /// Bytes that the device wrote, as it says: to be checked against the buffer.
    pub len: u32,
}

/// The driver's position in a ring.
#[derive(Debug)]
pub struct Queue<const N: usize> {
    ring: &'static Ring<N>,
    /// Buffers offered since the start; wraps.
    offered: u16,
    /// Of these, what the device has been told of.
    published: u16,
    /// Buffers taken back since the start; wraps.
    taken: u16,
}

/// The device writes to the buffer.
const WRITE: u16 = 2;

impl<const N: usize> Queue<N> {
    /// Starts with an empty ring, which no other queue must use.
    pub fn new(ring: &'static Ring<N>) -> Self {
        Self {
            ring,
            offered: 0,
            published: 0,
            taken: 0,
        }
    }

    /// Says where the buffer `id` is, once. `writable` is its length if the device is to write it; what it is to read
    /// has its length set by each [`offer`](Self::offer).
    pub fn describe(&self, id: u16, address: u64, writable: Option<u32>) {
        if let Some(descriptor) = self.ring.descriptors.get(usize::from(id)) {
            descriptor.address.store(address, Ordering::Relaxed);
            descriptor.len.store(writable.unwrap_or(0), Ordering::Relaxed);
            descriptor
                .flags
                .store(if writable.is_some() { WRITE } else { 0 }, Ordering::Relaxed);
        }
    }

    /// Sets the length of what the device reads from buffer `id`. Only while the buffer is the driver's.
    pub fn set_len(&self, id: u16, len: u32) {
        if let Some(descriptor) = self.ring.descriptors.get(usize::from(id)) {
            descriptor.len.store(len, Ordering::Relaxed);
        }
    }

    /// Puts the buffer `id` in line for the device, which sees it after the next [`publish`](Self::publish).
    pub fn offer(&mut self, id: u16) {
        self.ring.available.ring[Self::slot(self.offered)].store(id, Ordering::Relaxed);
        self.offered = self.offered.wrapping_add(1);
    }

    /// Number of buffers offered and not published.
    pub fn unpublished(&self) -> u16 {
        self.offered.wrapping_sub(self.published)
    }

    /// Lets the device see what was offered; true if it asked to be notified of that.
    #[must_use]
    pub fn publish(&mut self) -> bool {
        if self.unpublished() == 0 {
            return false;
        }
        let before = self.published;
        self.published = self.offered;
        self.ring.available.index.store(self.offered, Ordering::Release);
        // The device sets its event index, then looks at ours again: one of the two sees the other.
        fence(Ordering::SeqCst);
        crosses(
            self.ring.used.available_event.load(Ordering::Relaxed),
            before,
            self.offered,
        )
    }

    /// The next buffer that the device has given back, if any; it stays the next one until [`take`](Self::take).
    pub fn peek(&self) -> Option<Used> {
        let published = self.ring.used.index.load(Ordering::Acquire);
        if published == self.taken {
            return None;
        }
        let element = &self.ring.used.ring[Self::slot(self.taken)];
        // An id that does not exist is a bug of the device; the remainder at least exists.
        let id = u16::try_from(element.id.load(Ordering::Relaxed)).unwrap_or(0) % Ring::<N>::LEN;
        Some(Used {
            id,
            len: element.len.load(Ordering::Relaxed),
        })
    }

    /// Takes the next buffer back, if there is one.
    pub fn take(&mut self) -> Option<Used> {
        let used = self.peek()?;
        self.taken = self.taken.wrapping_add(1);
        Some(used)
    }

    /// Asks for an interrupt when the device gives back one more buffer. True if it already has: look again
    /// before sleeping, no interrupt may come.
    #[must_use]
    pub fn arm(&self) -> bool {
        self.ring
            .available
            .used_event
            .store(self.taken, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.peek().is_some()
    }

    /// Asks for no interrupt, for the next 65,535 buffers.
    pub fn disarm(&self) {
        self.ring
            .available
            .used_event
            .store(self.taken.wrapping_sub(1), Ordering::Relaxed);
    }

    fn slot(index: u16) -> usize {
        usize::from(index) % N
    }
}

/// Whether going from index `old` to `new` passes `event` (`vring_need_event` of virtio 1.2, section 2.7.10).
fn crosses(event: u16, old: u16, new: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests;
