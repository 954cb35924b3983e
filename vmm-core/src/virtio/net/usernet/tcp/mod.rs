//! A small TCP for a link that keeps order and loses nothing: what our side needs to talk to the guest's real one.
//!
//! It is pure: segments and `now` go in, segments come out, and all of its state is plain data that a snapshot carries.
//! It opens connections, never accepts them. The link is a memory copy, so there is no congestion control, no
//! reassembly and no round-trip estimate; a segment that the guest dropped is repeated after 200 ms.

mod byte_ring;
mod endpoint;
mod input;
mod output;
mod seq;
mod state;
mod timer;

pub(crate) use byte_ring::ByteRing;
pub(crate) use endpoint::{Ending, Endpoint};
pub(crate) use input::Verdict;
pub(crate) use output::Outgoing;
pub(crate) use seq::Seq;
pub use state::TcpStateError;
pub(crate) use state::{Phase, Receiving, Sending, TcpState};
pub(crate) use timer::GIVE_UP_MS;

/// Bytes kept for the guest until it has acknowledged them, per connection.
pub(crate) const SEND_CAPACITY: usize = 64 * 1024;
/// Bytes of the guest kept until the host's stream takes them, per connection; the largest window without scaling.
pub(crate) const RECEIVE_CAPACITY: usize = 65_535;
/// The smallest segment size of a guest that is honoured.
pub(crate) const MIN_MSS: u16 = 64;
/// What a guest takes that does not say (RFC 9293, section 3.7.1).
pub(crate) const DEFAULT_MSS: u16 = 536;

#[cfg(test)]
mod tests;
