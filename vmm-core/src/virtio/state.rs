//! What a transport saves: plain, untrusted values, checked on the way back in.

use serde::{Deserialize, Serialize};

use super::ring::RingError;
use super::status::DeviceStatus;

/// The state of one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QueueState {
    /// Entries the driver chose.
    pub(crate) size: u16,
    /// The driver has set the queue up.
    pub(crate) ready: bool,
    /// GPA of the descriptor table.
    pub(crate) desc_table: u64,
    /// GPA of the available ring ("driver area").
    pub(crate) avail_ring: u64,
    /// GPA of the used ring ("device area").
    pub(crate) used_ring: u64,
    /// Index of the next chain to take.
    pub(crate) next_avail: u16,
    /// Index of the next chain to give back.
    pub(crate) next_used: u16,
}

/// The state of a virtio-mmio transport, without what its device keeps for itself.
///
/// It is only valid together with the guest memory of the same moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TransportState {
    pub(crate) device_id: u32,
    pub(crate) status: DeviceStatus,
    pub(crate) driver_features: u64,
    pub(crate) device_features_page: u32,
    pub(crate) driver_features_page: u32,
    pub(crate) queue_sel: u32,
    pub(crate) config_changed: bool,
    pub(crate) queues: Vec<QueueState>,
}

/// A saved transport state cannot be restored into this device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The state is another device's.
    #[error("restore virtio device {expected}: the state is of device {found}")]
    Device {
        /// Id of this device.
        expected: u32,
        /// Id in the state.
        found: u32,
    },
    /// The device does not offer what the driver works with.
    #[error("restore virtio device: the driver took features {acked:#x}, {offered:#x} are on offer")]
    Features {
        /// What the driver took.
        acked: u64,
        /// What this device offers.
        offered: u64,
    },
    /// The number of queues differs.
    #[error("restore virtio device: the state has {found} queues, the device {expected}")]
    QueueCount {
        /// Queues of this device.
        expected: usize,
        /// Queues in the state.
        found: usize,
    },
    /// A queue is set up in a state in which none can be.
    #[error("restore virtio device: queue {queue} is ready although the status is {status:#x}")]
    QueueTooEarly {
        /// Index of the queue.
        queue: usize,
        /// The `Status` register.
        status: u32,
    },
    /// A queue cannot be used.
    #[error("restore virtio device: queue {queue}")]
    Queue {
        /// Index of the queue.
        queue: usize,
        /// What is wrong with it.
        #[source]
        source: RingError,
    },
}
