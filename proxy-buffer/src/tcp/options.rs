//! How a listener's connections are served.

use std::time::Duration;

use bytes::Bytes;

use crate::HoldError;

/// What to write to a client before its connection is closed; `None` closes it without a word.
///
/// It is only asked while the reply would be the first bytes of an answer. With [`Protocol::Http1`] that is known. In a raw
/// stream it is so before any byte of the backend was sent on the connection, and after the connection has waited at the
/// gate again. (Later on, a raw stream does not say whether the answer before is complete, and a reply in the middle of it
/// would corrupt it.)
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
    /// While the proxy drains, a connection on which nothing is under way is closed after this time without a byte. In a raw
    /// stream it should exceed the longest pause within one answer. Default 100 ms.
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

/// What a listener's connections carry, so which silence is a fault. The proxy does not guess it from the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// Any bytes. Silence is legal at any time, so the limits on it ([`answer_time`](crate::Limits::answer_time),
    /// [`abandoned_time`](crate::Limits::abandoned_time), [`request_time`](crate::Limits::request_time)) do not apply. An
    /// answer is owed from the client's last bytes to the backend's next; until then the target is kept awake.
    Raw,
    /// HTTP/1. Bytes are passed on as they come, but the proxy follows where requests and answers begin and end: each must
    /// get on, an answer keeps its target awake to its last byte, and a request that is not complete keeps nothing awake.
    /// A target that sleeps is woken once the head of a request is complete.
    ///
    /// From an answer of `101`, one of `2xx` to `CONNECT`, or one that is not HTTP/1 at all, the connection is as
    /// [`Raw`](Self::Raw), for good. If it is the client that does not speak HTTP/1, or not to the letter, the backend has
    /// [`answer_time`](crate::Limits::answer_time) to say something to that: then too. For a server that speaks first, take
    /// `Raw`.
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
