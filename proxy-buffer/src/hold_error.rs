//! Why a client is turned away.

use std::{io, sync::Arc, time::Duration};

use crate::ActivateError;

/// Why a client was not forwarded, or not answered. Cheap to clone.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HoldError {
    /// As many connections wait as may.
    #[error("hold a connection: {held} already wait for the target, the limit is {limit}")]
    QueueFull {
        /// Connections that wait.
        held: usize,
        /// [`Limits::held_connections`](crate::Limits::held_connections).
        limit: usize,
    },
    /// No room for the request's bytes.
    #[error("hold {wanted_bytes} bytes: {held_bytes} of {limit_bytes} bytes per {scope} are taken")]
    BytesFull {
        /// Which limit it was.
        scope: ByteScope,
        /// Bytes that were to be held.
        wanted_bytes: usize,
        /// Bytes held already.
        held_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// The target did not wake within [`Limits::hold_time`](crate::Limits::hold_time).
    #[error("wait for the target to wake: gave up after {} ms", waited.as_millis())]
    HoldTimeOver {
        /// How long the client waited.
        waited: Duration,
    },
    /// The activation failed.
    #[error("wake the target: {0}")]
    WakeFailed(#[source] ActivateError),
    /// The target is awake but does not take connections.
    #[error("connect to the target: {0}")]
    ConnectFailed(#[source] Arc<io::Error>),
    /// The target closed the connection before the first byte of its answer.
    #[error("read the answer: the target closed the connection before its first byte")]
    BackendClosed,
    /// The target's owner said that it is gone.
    #[error("the target was lost: {reason}")]
    BackendLost {
        /// The owner's words.
        reason: Arc<str>,
    },
    /// The proxy is shutting down.
    #[error("the proxy is draining and takes no new requests")]
    Draining,
    /// As many connections are open as may be.
    #[error("open a connection: the target already has its limit of {limit}")]
    TooManyConnections {
        /// [`Limits::connections_per_target`](crate::Limits::connections_per_target).
        limit: usize,
    },
}

/// What a byte limit counts over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ByteScope {
    /// One target's gate.
    Target,
    /// The whole proxy.
    Proxy,
}

impl std::fmt::Display for ByteScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Target => "target",
            Self::Proxy => "proxy",
        })
    }
}
