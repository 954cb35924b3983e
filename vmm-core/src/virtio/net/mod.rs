//! The network device and the host sides it can have.

mod backend;
mod config;
mod device;
mod usernet;

pub use config::{MacAddress, NetConfig, NetConfigError};
pub(crate) use device::Net;
#[cfg(any(test, feature = "fuzz"))]
pub use device::fuzz_queues;
pub use usernet::{
    AttachError, ConnectError, ConnectionId, DetachedStreams, EgressPolicy, Spare, TcpStateError,
    UserNetConfig, UserNetCounts, UserNetError, UserNetHandle,
};
pub(crate) use usernet::{UserNet, UserNetState};
#[cfg(any(test, feature = "fuzz"))]
pub use usernet::{fuzz_link, fuzz_link_state};

/// A virtio-net device on virtio-mmio with `B` as its host side.
pub(crate) type NetDevice<B> = super::VirtioMmio<Net<B>>;
