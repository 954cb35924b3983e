//! Devices that are not virtio.

pub(crate) mod boot_timer;
pub(crate) mod generation;
pub(crate) mod ioapic;
pub(crate) mod serial;
