//! The network device and the host sides it can have.

mod backend;
mod config;
mod device;
mod usernet;

pub use backend::{Frame, NetBackend};
pub use config::{MacAddress, NetConfig, NetConfigError};
pub use device::Net;
pub use usernet::{
    AttachError, ConnectError, ConnectionId, DetachedStreams, EgressPolicy, Spare, TcpStateError, UserNet,
    UserNetConfig, UserNetCounts, UserNetError, UserNetHandle, UserNetState,
};

/// A virtio-net device on virtio-mmio with `B` as its host side.
pub type NetDevice<B> = super::VirtioMmio<Net<B>>;
