//! A split virtqueue as a device sees it: a ring whose driver may be hostile.
//!
//! The index arithmetic and the walk along a chain are `virtio-queue`'s. This adds what a device needs to rely on: a
//! chain is read once and bounded, a malformed chain is an empty one, and a ring that makes no sense is an error.

use std::sync::atomic::Ordering;

use virtio_bindings::virtio_ring::{VRING_AVAIL_F_NO_INTERRUPT, VRING_DESC_F_NEXT};
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Address, Bytes, GuestAddress, GuestMemory, GuestMemoryMmap, Permissions};

use super::state::QueueState;

/// The most descriptors of one chain that are looked at.
const MAX_DESCRIPTORS: usize = 32;

/// A ring cannot be used, or no longer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// An index, size, alignment or access that `virtio-queue` refuses.
    #[error("use the virtqueue")]
    Queue(#[from] virtio_queue::Error),
    /// A part of the ring is not in guest memory.
    #[error("virtqueue {part} at {gpa:#x} ({len_bytes} bytes) is not in guest memory")]
    OutsideMemory {
        /// Which of the three parts.
        part: &'static str,
        /// Its guest physical address.
        gpa: u64,
        /// Its length for the chosen queue size.
        len_bytes: usize,
    },
    /// The driver made a descriptor available that is not in the table.
    #[error("virtqueue: descriptor head {head} is not below the queue size {size}")]
    Head {
        /// The head index the driver wrote.
        head: u16,
        /// Entries of the queue.
        size: u16,
    },
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    addr: GuestAddress,
    len_bytes: u32,
}

/// A ring in use. One chain is current at a time: the one that was popped last.
#[derive(Debug)]
pub(crate) struct Ring {
    queue: Queue,
    segments: Vec<Segment>,
    /// How many of `segments` are for reading; the rest are for writing.
    readable: usize,
    /// Chains were completed since the driver was last told.
    completed: bool,
}

impl Ring {
    /// A ring at the place and position of `state`, of at most `max_size` entries.
    ///
    /// # Errors
    /// A size, alignment or address that cannot be used with `mem`.
    pub(crate) fn new(
        mem: &GuestMemoryMmap,
        max_size: u16,
        event_idx: bool,
        state: &QueueState,
    ) -> Result<Self, RingError> {
        let queue = Queue::try_from(virtio_queue::QueueState {
            max_size,
            next_avail: state.next_avail,
            next_used: state.next_used,
            event_idx_enabled: event_idx,
            size: state.size,
            ready: true,
            desc_table: state.desc_table,
            avail_ring: state.avail_ring,
            used_ring: state.used_ring,
        })?;
        let size = usize::from(state.size);
        for (part, gpa, len_bytes, access) in [
            ("descriptor table", state.desc_table, 16 * size, Permissions::Read),
            (
                "available ring",
                state.avail_ring,
                6 + 2 * size,
                Permissions::Read,
            ),
            ("used ring", state.used_ring, 6 + 8 * size, Permissions::Write),
        ] {
            // `virtio-queue` takes an available ring at address zero for one that is not set up.
            if gpa == 0 || !mem.check_range(GuestAddress(gpa), len_bytes, access) {
                return Err(RingError::OutsideMemory { part, gpa, len_bytes });
            }
        }
        Ok(Ring {
            queue,
            segments: Vec::with_capacity(MAX_DESCRIPTORS),
            readable: 0,
            completed: false,
        })
    }

    pub(crate) fn state(&self) -> QueueState {
        QueueState {
            size: self.queue.size(),
            ready: true,
            desc_table: self.queue.desc_table(),
            avail_ring: self.queue.avail_ring(),
            used_ring: self.queue.used_ring(),
            next_avail: self.queue.next_avail(),
            next_used: self.queue.next_used(),
        }
    }

    /// Entries of the ring.
    #[must_use]
    pub(crate) fn size(&self) -> u16 {
        self.queue.size()
    }

    /// Takes the next available chain and makes it current; answers its head, for [`complete`](Self::complete).
    ///
    /// A chain that loops, leaves the table or guest memory, has more than 32 descriptors, or mixes the order of
    /// readable and writable parts becomes current as an empty chain.
    ///
    /// # Errors
    /// The ring itself makes no sense; it must not be used any more.
    pub(crate) fn pop(&mut self, mem: &GuestMemoryMmap) -> Result<Option<u16>, RingError> {
        self.segments.clear();
        self.readable = 0;
        let Some(mut chain) = self.queue.iter(mem)?.next() else {
            return Ok(None);
        };
        let (head, size) = (chain.head_index(), self.queue.size());
        if head >= size {
            return Err(RingError::Head { head, size });
        }
        let mut more = true;
        while more {
            // The iterator ends early, with the last descriptor announcing another, when the chain is malformed.
            let Some(descriptor) = chain.next() else { break };
            more = u32::from(descriptor.flags()) & VRING_DESC_F_NEXT != 0;
            let writable = descriptor.is_write_only();
            let out_of_order = !writable && self.readable < self.segments.len();
            if self.segments.len() == MAX_DESCRIPTORS || out_of_order {
                more = true;
                break;
            }
            self.segments.push(Segment {
                addr: descriptor.addr(),
                len_bytes: descriptor.len(),
            });
            if !writable {
                self.readable += 1;
            }
        }
        if more {
            self.segments.clear();
            self.readable = 0;
        }
        Ok(Some(head))
    }

    /// Puts the chain popped last back, as if it had not been popped.
    pub(crate) fn unpop(&mut self) {
        self.queue.go_to_previous_position();
        self.segments.clear();
        self.readable = 0;
    }

    /// Whether the current chain has nothing to read and room to write at least `len_bytes`.
    #[must_use]
    pub(crate) fn takes(&self, len_bytes: usize) -> bool {
        let room: u64 = self
            .segments
            .iter()
            .map(|segment| u64::from(segment.len_bytes))
            .sum();
        self.readable == 0 && u64::try_from(len_bytes).is_ok_and(|len| room >= len)
    }

    /// Reads the readable part of the current chain into `buf`, each byte once. `None` if it is longer than `buf`, is
    /// not all in guest memory, or the chain has a writable part as well.
    pub(crate) fn read<'b>(&self, mem: &GuestMemoryMmap, buf: &'b mut [u8]) -> Option<&'b [u8]> {
        if self.readable < self.segments.len() {
            return None;
        }
        let mut filled = 0;
        for segment in &self.segments {
            let end = usize::try_from(segment.len_bytes).ok()?.checked_add(filled)?;
            mem.read_slice(buf.get_mut(filled..end)?, segment.addr).ok()?;
            filled = end;
        }
        buf.get(..filled)
    }

    /// Writes `parts` one after the other into the writable part of the current chain; answers the bytes written.
    /// `None` if they do not fit or the chain is not all in guest memory.
    pub(crate) fn write(&self, mem: &GuestMemoryMmap, parts: &[&[u8]]) -> Option<u32> {
        let mut segments = self.segments.iter().skip(self.readable).copied();
        let mut segment = segments.next()?;
        let mut written = 0;
        for part in parts {
            let mut part = *part;
            while !part.is_empty() {
                while segment.len_bytes == 0 {
                    segment = segments.next()?;
                }
                let room = usize::try_from(segment.len_bytes).ok()?;
                let (now, later) = part.split_at(room.min(part.len()));
                mem.write_slice(now, segment.addr).ok()?;
                let len_bytes = u32::try_from(now.len()).ok()?;
                segment.addr = segment.addr.checked_add(u64::from(len_bytes))?;
                segment.len_bytes -= len_bytes;
                written += len_bytes;
                part = later;
            }
        }
        Some(written)
    }

    /// Gives the chain that starts at `head` back to the driver, with `len_bytes` written into it.
    ///
    /// # Errors
    /// The ring makes no sense; it must not be used any more.
    pub(crate) fn complete(
        &mut self,
        mem: &GuestMemoryMmap,
        head: u16,
        len_bytes: u32,
    ) -> Result<(), RingError> {
        self.completed = true;
        Ok(self.queue.add_used(mem, head, len_bytes)?)
    }

    /// Asks the driver to notify us of the next chain. `true` if one came in the meantime, so that there may be no
    /// notification.
    ///
    /// # Errors
    /// The ring makes no sense; it must not be used any more.
    pub(crate) fn enable_notification(&mut self, mem: &GuestMemoryMmap) -> Result<bool, RingError> {
        Ok(self.queue.enable_notification(mem)?)
    }

    /// Tells the driver that notifications are not needed for now. A hint, which it may miss.
    ///
    /// # Errors
    /// The ring makes no sense; it must not be used any more.
    pub(crate) fn disable_notification(&mut self, mem: &GuestMemoryMmap) -> Result<(), RingError> {
        Ok(self.queue.disable_notification(mem)?)
    }

    /// Whether the driver wants an interrupt for the chains completed since this was last asked.
    ///
    /// # Errors
    /// The ring makes no sense; it must not be used any more.
    pub(crate) fn needs_interrupt(&mut self, mem: &GuestMemoryMmap) -> Result<bool, RingError> {
        if !std::mem::take(&mut self.completed) {
            return Ok(false);
        }
        // Orders our used index before the read of the driver's wish below (virtio 1.2, section 2.7.7.1).
        let wanted = self.queue.needs_notification(mem)?;
        if self.queue.event_idx_enabled() {
            return Ok(wanted);
        }
        Ok(u32::from(self.avail_field(mem, 0)?) & VRING_AVAIL_F_NO_INTERRUPT == 0)
    }

    /// Whether the driver may be waiting for an interrupt that was raised but lost with the previous host process: it
    /// has not yet looked at all completed chains, or we cannot know.
    ///
    /// # Errors
    /// The ring makes no sense; it must not be used any more.
    pub(crate) fn may_owe_interrupt(&self, mem: &GuestMemoryMmap) -> Result<bool, RingError> {
        if !self.queue.event_idx_enabled() {
            return Ok(true);
        }
        // A driver that waits has written the used index it has reached (section 2.7.7).
        let used_event = self.avail_field(mem, 4 + 2 * u64::from(self.queue.size()))?;
        Ok(used_event != self.queue.next_used())
    }

    fn avail_field(&self, mem: &GuestMemoryMmap, offset: u64) -> Result<u16, RingError> {
        let addr = GuestAddress(self.queue.avail_ring())
            .checked_add(offset)
            .ok_or(virtio_queue::Error::AddressOverflow)?;
        let value: u16 = mem
            .load(addr, Ordering::Relaxed)
            .map_err(virtio_queue::Error::GuestMemory)?;
        Ok(u16::from_le(value))
    }
}

#[cfg(test)]
mod tests;
