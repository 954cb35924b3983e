//! How a listener's connections are served.

use std::time::Duration;

use bytes::Bytes;

use crate::HoldError;

/// What to write to a client before its connection is closed; `None` closes it without a word.
///
/// It is only asked while the reply would be the first bytes of an answer: before any byte of the backend was sent on
/// the connection, or after the connection has waited at the gate again. (Later on, a raw stream does not say whether
/// the answer before is complete, and a reply in the middle of it would corrupt it.)
pub type Refusal = fn(&HoldError) -> Option<Bytes>;

/// The [`Refusal`] that fits any protocol: close without a word.
#[must_use]
pub fn no_refusal(_why: &HoldError) -> Option<Bytes> {
    None
}

/// How a listener's connections are served.
#[derive(Clone, Debug)]
pub struct TcpOptions {
    /// What the connections carry. Default: any bytes.
    pub protocol: Protocol,
    /// What wakes the target. Default: the first bytes.
    pub wake_on: WakeOn,
    /// What open connections mean for parking. Default: they survive it.
    pub open_connections: OpenConnections,
    /// What a client is told that is turned away. Default: [`no_refusal`].
    pub refusal: Refusal,
    /// How long a connection that was refused is drained before it is dropped, so that the reply is not lost to a
    /// reset. Default 1 s.
    pub linger_time: Duration,
    /// How many bytes of it are drained. Default 1 MiB.
    pub linger_bytes: usize,
    /// While the proxy drains, a connection without an exchange is closed after this time without a byte: it should
    /// exceed the longest pause within one answer. Default 100 ms.
    pub drain_quiet: Duration,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            protocol: Protocol::Raw,
            wake_on: WakeOn::FirstBytes,
            open_connections: OpenConnections::KeepAcrossSleep,
            refusal: no_refusal,
            linger_time: Duration::from_secs(1),
            linger_bytes: 1024 * 1024,
            drain_quiet: Duration::from_millis(100),
        }
    }
}

/// What a listener's connections carry, so which silence is a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// Any bytes. Silence is legal at any time, so none of the limits on silence apply.
    Raw,
    /// HTTP/1: requests and answers are told apart, and each must get on.
    Http1,
}

/// What wakes a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WakeOn {
    /// The client's first bytes: who connects and says nothing wakes nothing.
    FirstBytes,
    /// The connection itself, for protocols in which the server speaks first.
    Accept,
}

/// What open connections mean for parking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenConnections {
    /// A quiet connection does not hinder parking. Its backend stream is kept, and must be valid after the next
    /// activation; the client's next bytes wake the target and go on the same stream.
    KeepAcrossSleep,
    /// The target stays awake while a connection to it is open.
    HoldAwake,
}
