//! The register window: offsets, widths, and the part of a queue that is set by registers.

use std::ops::RangeInclusive;

use super::features::{join, words};
use super::state::QueueState;

pub(crate) use virtio_bindings::virtio_mmio::{
    VIRTIO_MMIO_CONFIG as CONFIG, VIRTIO_MMIO_CONFIG_GENERATION as CONFIG_GENERATION,
    VIRTIO_MMIO_DEVICE_FEATURES as DEVICE_FEATURES, VIRTIO_MMIO_DEVICE_FEATURES_SEL as DEVICE_FEATURES_SEL,
    VIRTIO_MMIO_DEVICE_ID as DEVICE_ID, VIRTIO_MMIO_DRIVER_FEATURES as DRIVER_FEATURES,
    VIRTIO_MMIO_DRIVER_FEATURES_SEL as DRIVER_FEATURES_SEL, VIRTIO_MMIO_INT_CONFIG as INT_CONFIG,
    VIRTIO_MMIO_INT_VRING as INT_VRING, VIRTIO_MMIO_INTERRUPT_ACK as INTERRUPT_ACK,
    VIRTIO_MMIO_INTERRUPT_STATUS as INTERRUPT_STATUS, VIRTIO_MMIO_MAGIC_VALUE as MAGIC_VALUE,
    VIRTIO_MMIO_QUEUE_AVAIL_HIGH as QUEUE_AVAIL_HIGH, VIRTIO_MMIO_QUEUE_AVAIL_LOW as QUEUE_AVAIL_LOW,
    VIRTIO_MMIO_QUEUE_DESC_HIGH as QUEUE_DESC_HIGH, VIRTIO_MMIO_QUEUE_DESC_LOW as QUEUE_DESC_LOW,
    VIRTIO_MMIO_QUEUE_NOTIFY as QUEUE_NOTIFY, VIRTIO_MMIO_QUEUE_NUM as QUEUE_NUM,
    VIRTIO_MMIO_QUEUE_NUM_MAX as QUEUE_NUM_MAX, VIRTIO_MMIO_QUEUE_READY as QUEUE_READY,
    VIRTIO_MMIO_QUEUE_SEL as QUEUE_SEL, VIRTIO_MMIO_QUEUE_USED_HIGH as QUEUE_USED_HIGH,
    VIRTIO_MMIO_QUEUE_USED_LOW as QUEUE_USED_LOW, VIRTIO_MMIO_SHM_BASE_HIGH as SHM_BASE_HIGH,
    VIRTIO_MMIO_SHM_LEN_LOW as SHM_LEN_LOW, VIRTIO_MMIO_STATUS as STATUS, VIRTIO_MMIO_VENDOR_ID as VENDOR_ID,
    VIRTIO_MMIO_VERSION as VERSION,
};

/// "virt".
pub(crate) const MAGIC: u32 = 0x7472_6976;
/// The transport that is not the legacy one.
pub(crate) const VERSION_2: u32 = 2;
/// "VMMC"; the field has no registry on this transport.
pub(crate) const VENDOR: u32 = 0x434d_4d56;
/// Registers of shared memory regions. A region that is not there has all bits of its length set.
pub(crate) const SHM: RangeInclusive<u32> = SHM_LEN_LOW..=SHM_BASE_HIGH;

/// What the driver wrote about a queue. Nothing of it is looked at before the driver declares the queue ready.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct QueueRegisters {
    size: u32,
    desc_table: u64,
    avail_ring: u64,
    used_ring: u64,
}

impl QueueRegisters {
    pub(crate) fn write(&mut self, register: u32, value: u32) {
        match register {
            QUEUE_NUM => self.size = value,
            QUEUE_DESC_LOW => self.desc_table = with_low(self.desc_table, value),
            QUEUE_DESC_HIGH => self.desc_table = with_high(self.desc_table, value),
            QUEUE_AVAIL_LOW => self.avail_ring = with_low(self.avail_ring, value),
            QUEUE_AVAIL_HIGH => self.avail_ring = with_high(self.avail_ring, value),
            QUEUE_USED_LOW => self.used_ring = with_low(self.used_ring, value),
            QUEUE_USED_HIGH => self.used_ring = with_high(self.used_ring, value),
            _ => {}
        }
    }

    /// The registers as the state of a fresh queue. A size no queue can have becomes zero, which is refused later.
    pub(crate) fn state(&self) -> QueueState {
        QueueState {
            size: u16::try_from(self.size).unwrap_or(0),
            desc_table: self.desc_table,
            avail_ring: self.avail_ring,
            used_ring: self.used_ring,
            ..QueueState::default()
        }
    }
}

impl From<&QueueState> for QueueRegisters {
    fn from(state: &QueueState) -> Self {
        QueueRegisters {
            size: state.size.into(),
            desc_table: state.desc_table,
            avail_ring: state.avail_ring,
            used_ring: state.used_ring,
        }
    }
}

fn with_low(value: u64, low: u32) -> u64 {
    let [_, high] = words(value);
    join(low, high)
}

fn with_high(value: u64, high: u32) -> u64 {
    let [low, _] = words(value);
    join(low, high)
}
