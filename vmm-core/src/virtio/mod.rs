//! Virtio devices on our own virtio-mmio transport (virtio 1.2, section 4.2).
//!
//! [`VirtioMmio`] is the whole device for its owner: a [`BusDevice`](crate::bus::BusDevice) for the register window, a
//! subscriber for the event loop, and something whose [`TransportState`] can be saved and restored. What a device
//! *does* is a [`VirtioDevice`]; its rings are handed to it as hardened `Ring`s.

mod counters;
mod device;
mod features;
mod mmio;
mod net;
mod notify;
mod registers;
mod ring;
mod state;
mod status;
mod subscriber;
#[cfg(test)]
mod testing;

pub use counters::DeviceCounts;
pub use device::{Pass, VirtioDevice};
pub use mmio::VirtioMmio;
pub use net::{
    AttachError, ConnectError, ConnectionId, DetachedStreams, EgressPolicy, Frame, MacAddress, Net,
    NetBackend, NetConfig, NetConfigError, NetDevice, Spare, TcpStateError, UserNet, UserNetConfig,
    UserNetCounts, UserNetError, UserNetHandle, UserNetState,
};
pub use notify::IoEventFd;
pub use ring::{Ring, RingError};
pub use state::{RestoreError, TransportState};
