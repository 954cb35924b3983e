//! `UserNet`: a private user-mode link for one VM, without privileges.
//!
//! The guest has `10.0.2.15/24` and one neighbour, the gateway `10.0.2.2`, which answers ARP and ping and opens TCP
//! connections to the guest's ports on behalf of the host. Both ends of every connection are ours to save: the host's
//! TCP is [our own](tcp), so that connections survive snapshots.
//!
//! [`link`] and [`tcp`] are pure; [`usernet`] does the I/O on the event loop; [`handle`] is how other threads reach it.

mod attach;
mod config;
mod counters;
mod handle;
mod host_stream;
mod link;
mod review;
mod spares;
mod state;
mod tcp;
mod time;
#[expect(
    clippy::module_inception,
    reason = "the file is named after the type it holds"
)]
mod usernet;
mod watch;
mod wire;

pub use config::{EgressPolicy, Spare, UserNetConfig, UserNetError};
pub use counters::UserNetCounts;
pub use handle::{ConnectError, UserNetHandle};
#[cfg(any(test, feature = "fuzz"))]
pub use link::{fuzz_link, fuzz_link_state};
pub(crate) use state::UserNetState;
pub use state::{AttachError, ConnectionId, DetachedStreams};
pub use tcp::TcpStateError;
pub(crate) use usernet::UserNet;

#[cfg(test)]
mod guest;
#[cfg(test)]
mod tests;
