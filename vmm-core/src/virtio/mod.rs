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
pub(crate) use mmio::VirtioMmio;
pub use net::{
    AttachError, ConnectError, ConnectionId, DetachedStreams, EgressPolicy, MacAddress, NetConfig,
    NetConfigError, Spare, TcpStateError, UserNetConfig, UserNetCounts, UserNetError, UserNetHandle,
};
pub(crate) use net::{Net, NetDevice, UserNet, UserNetState};
#[cfg(any(test, feature = "fuzz"))]
pub use net::{fuzz_link, fuzz_link_state, fuzz_queues};
pub use ring::RingError;
pub use state::RestoreError;
pub(crate) use state::TransportState;
