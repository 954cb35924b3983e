//! What a device has seen, readable from any thread.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count that only goes up.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The live counters of a transport.
#[derive(Debug, Default)]
pub(crate) struct DeviceCounters {
    pub(crate) interrupts: Counter,
    pub(crate) interrupt_errors: Counter,
    pub(crate) broken: Counter,
    pub(crate) refused_queues: Counter,
    pub(crate) refused_features: Counter,
}

impl DeviceCounters {
    pub(crate) fn counts(&self, malformed_chains: u64) -> DeviceCounts {
        DeviceCounts {
            interrupts: self.interrupts.value(),
            interrupt_errors: self.interrupt_errors.value(),
            broken: self.broken.value(),
            refused_queues: self.refused_queues.value(),
            refused_features: self.refused_features.value(),
            malformed_chains,
        }
    }
}

/// The counters of a virtio device at one moment, each since the device was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceCounts {
    /// Interrupts raised.
    pub interrupts: u64,
    /// Interrupts that the kernel did not take.
    pub interrupt_errors: u64,
    /// Times the device stopped because its driver broke a queue.
    pub broken: u64,
    /// Queues whose set-up was refused.
    pub refused_queues: u64,
    /// Feature sets that were refused.
    pub refused_features: u64,
    /// Descriptor chains that were given back unused because they made no sense.
    pub malformed_chains: u64,
}
