//! The network device and the host sides it can have.

mod backend;
mod config;
mod device;
mod usernet;

pub use config::{MacAddress, NetConfig, NetConfigError};
pub(crate) use device::Net;
pub use usernet::{
    AttachError, ConnectError, ConnectionId, DetachedStreams, EgressPolicy, Spare, TcpStateError,
    UserNetConfig, UserNetCounts, UserNetError, UserNetHandle,
};
pub(crate) use usernet::{UserNet, UserNetState};

/// A virtio-net device on virtio-mmio with `B` as its host side.
pub(crate) type NetDevice<B> = super::VirtioMmio<Net<B>>;
