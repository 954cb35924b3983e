//! The driver's side of a queue, for tests.

use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::features::words;
use super::registers as reg;
use super::state::QueueState;
use crate::bus::BusDevice;

pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

/// Guest memory of 1 MiB.
pub(crate) fn memory() -> Arc<GuestMemoryMmap> {
    Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap())
}

/// A queue as its driver sees it: three pages from `base` on.
pub(crate) struct DriverQueue {
    pub(crate) mem: Arc<GuestMemoryMmap>,
    base: u64,
    pub(crate) size: u16,
    pub(crate) available: u16,
    pub(crate) seen: u16,
}

impl DriverQueue {
    pub(crate) fn new(mem: &Arc<GuestMemoryMmap>, base: u64, size: u16) -> Self {
        DriverQueue {
            mem: Arc::clone(mem),
            base,
            size,
            available: 0,
            seen: 0,
        }
    }

    pub(crate) fn state(&self) -> QueueState {
        QueueState {
            size: self.size,
            ready: true,
            desc_table: self.base,
            avail_ring: self.base + 0x1000,
            used_ring: self.base + 0x2000,
            ..QueueState::default()
        }
    }

    pub(crate) fn write<T: vm_memory::ByteValued>(&self, gpa: u64, value: T) {
        self.mem.write_obj(value, GuestAddress(gpa)).unwrap();
    }

    pub(crate) fn read<T: vm_memory::ByteValued>(&self, gpa: u64) -> T {
        self.mem.read_obj(GuestAddress(gpa)).unwrap()
    }

    pub(crate) fn describe(&self, index: u16, gpa: u64, len: u32, flags: u16, next: u16) {
        let at = self.base + 16 * u64::from(index);
        self.write(at, gpa);
        self.write(at + 8, len);
        self.write(at + 12, flags);
        self.write(at + 14, next);
    }

    pub(crate) fn offer(&mut self, head: u16) {
        let ring = self.base + 0x1000;
        self.write(ring + 4 + 2 * u64::from(self.available % self.size), head);
        self.available = self.available.wrapping_add(1);
        self.write(ring + 2, self.available);
    }

    /// Offers a chain of one descriptor.
    pub(crate) fn offer_one(&mut self, index: u16, gpa: u64, len: u32, flags: u16) {
        self.describe(index, gpa, len, flags, 0);
        self.offer(index);
    }

    /// The next chain that came back: its head, and the bytes written into it.
    pub(crate) fn used(&mut self) -> Option<(u32, u32)> {
        let ring = self.base + 0x2000;
        if self.read::<u16>(ring + 2) == self.seen {
            return None;
        }
        let at = ring + 4 + 8 * u64::from(self.seen % self.size);
        self.seen = self.seen.wrapping_add(1);
        Some((self.read(at), self.read(at + 4)))
    }

    pub(crate) fn set_available_index(&self, index: u16) {
        self.write(self.base + 0x1000 + 2, index);
    }

    pub(crate) fn set_no_interrupt(&self, flag: u16) {
        self.write(self.base + 0x1000, flag);
    }

    pub(crate) fn set_used_event(&self, index: u16) {
        self.write(self.base + 0x1000 + 4 + 2 * u64::from(self.size), index);
    }

    pub(crate) fn avail_event(&self) -> u16 {
        self.read(self.base + 0x2000 + 4 + 8 * u64::from(self.size))
    }

    pub(crate) fn no_notify(&self) -> u16 {
        self.read(self.base + 0x2000)
    }
}

pub(crate) fn read_register(device: &mut impl BusDevice, register: u32) -> u32 {
    let mut data = [0xff; 4];
    device.read(register.into(), &mut data);
    u32::from_le_bytes(data)
}

pub(crate) fn write_register(device: &mut impl BusDevice, register: u32, value: u32) {
    device.write(register.into(), &value.to_le_bytes());
}

pub(crate) fn set_up_queue(device: &mut impl BusDevice, index: u32, queue: &QueueState) {
    write_register(device, reg::QUEUE_SEL, index);
    write_register(device, reg::QUEUE_NUM, queue.size.into());
    for (low, high, gpa) in [
        (reg::QUEUE_DESC_LOW, reg::QUEUE_DESC_HIGH, queue.desc_table),
        (reg::QUEUE_AVAIL_LOW, reg::QUEUE_AVAIL_HIGH, queue.avail_ring),
        (reg::QUEUE_USED_LOW, reg::QUEUE_USED_HIGH, queue.used_ring),
    ] {
        write_register(device, low, words(gpa)[0]);
        write_register(device, high, words(gpa)[1]);
    }
    write_register(device, reg::QUEUE_READY, 1);
}

/// Takes a device from reset to the point where its queues can be set up.
pub(crate) fn negotiate(device: &mut impl BusDevice, features: u64) {
    for status in [0, 1, 3] {
        write_register(device, reg::STATUS, status);
    }
    for (page, word) in (0..).zip(words(features)) {
        write_register(device, reg::DRIVER_FEATURES_SEL, page);
        write_register(device, reg::DRIVER_FEATURES, word);
    }
    write_register(device, reg::STATUS, 11);
}
