//! Why a client is turned away.

use std::{error::Error, fmt, io, sync::Arc, time::Duration};

use crate::ActivateError;

/// Why a client was not forwarded, or not answered. Cheap to clone.
///
/// The text is made for the client. Of an I/O error it names the first cause in the system's words, if there is one; the
/// owner's words (a wake's error, the reason of a loss) are passed on as they are.
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
        scope: LimitScope,
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
    /// The target is awake but cannot be connected to. The text names the first cause; all of them are the
    /// [source](std::error::Error::source).
    #[error("connect to the target: {}", cause(.0))]
    ConnectFailed(#[source] Arc<io::Error>),
    /// The target is awake but has no room for another connection, or the host has none: it was refused, or reset
    /// before its first byte, or a descriptor, port or memory was missing. Later there may be room.
    #[error("connect to the target: no connection to be had now: {}", cause(.0))]
    ConnectRefused(#[source] Arc<io::Error>),
    /// The target closed the connection before the first byte of its answer.
    #[error("read the answer: the target closed the connection before its first byte, after {} ms", waited.as_millis())]
    BackendClosed {
        /// What it left unanswered.
        asked: Asked,
        /// How long the answer had made no progress then; zero in a raw stream, in which that is not known.
        waited: Duration,
    },
    /// A request was not complete in [`Limits::request_time`](crate::Limits::request_time).
    #[error("read the request: {part} after {} ms", waited.as_millis())]
    RequestTimeOver {
        /// What was missing.
        part: RequestPart,
        /// How long it took: the head from its first byte, the body since its last.
        waited: Duration,
    },
    /// The head of a request is longer than [`Limits::held_bytes_per_connection`](crate::Limits::held_bytes_per_connection).
    #[error("hold the request: its head is longer than {limit_bytes} bytes")]
    HeadTooLong {
        /// The limit.
        limit_bytes: usize,
    },
    /// An answer made no progress for [`Limits::answer_time`](crate::Limits::answer_time).
    #[error("{waiting_for} for {} ms", waited.as_millis())]
    AnswerTimeOver {
        /// Who did not get on.
        waiting_for: Party,
        /// What the answer is owed to. Silence after a whole request is the target's fault; after anything else it may be the
        /// client's.
        asked: Asked,
        /// Time since the last progress.
        waited: Duration,
    },
    /// The client sent its end, and then nothing moved for
    /// [`Limits::abandoned_time`](crate::Limits::abandoned_time).
    #[error("read the answer: nothing came for {} ms after the client had sent its end", waited.as_millis())]
    Abandoned {
        /// Time since the last progress.
        waited: Duration,
    },
    /// The target's owner said that it is gone.
    #[error("the target was lost: {reason}")]
    BackendLost {
        /// The owner's words.
        reason: Arc<str>,
    },
    /// The proxy is shutting down.
    #[error("the proxy is draining and takes no new requests")]
    Draining,
    /// As many connections are open as may be, and nobody made room in [`Limits::hold_time`](crate::Limits::hold_time).
    #[error("open a connection: the {scope} already has its limit of {limit}, and all of them are busy")]
    TooManyConnections {
        /// Which limit it was.
        scope: LimitScope,
        /// [`Limits::connections_per_target`](crate::Limits::connections_per_target) or
        /// [`Limits::connections_total`](crate::Limits::connections_total).
        limit: usize,
    },
}

impl HoldError {
    /// Why a connect failed: for want of room, or otherwise.
    pub(crate) fn connect(error: io::Error) -> Self {
        let refused = io_errors(&error).any(lacks_room);
        let error = Arc::new(error);
        if refused {
            Self::ConnectRefused(error)
        } else {
            Self::ConnectFailed(error)
        }
    }
}

/// An error and all the I/O errors that caused it, the first cause last.
fn io_errors(error: &io::Error) -> impl Iterator<Item = &io::Error> {
    let first: &(dyn Error + 'static) = error;
    std::iter::successors(Some(first), |error| behind(*error)).filter_map(|error| error.downcast_ref())
}

fn behind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    // What an I/O error wraps is not its source: that is the source of what it wraps.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// Errors that may be gone when others have left.
fn lacks_room(error: &io::Error) -> bool {
    use io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, ConnectionReset, OutOfMemory, QuotaExceeded, ResourceBusy,
        WouldBlock,
    };
    // Of these the standard library has no kind: ENFILE, EMFILE, ENOBUFS.
    let kinds = [
        AddrNotAvailable,
        ConnectionRefused,
        ConnectionReset,
        OutOfMemory,
        QuotaExceeded,
        ResourceBusy,
        WouldBlock,
    ];
    kinds.contains(&error.kind()) || matches!(error.raw_os_error(), Some(23 | 24 | 105))
}

/// The first cause in the system's words, or the error's own.
fn cause(error: &Arc<io::Error>) -> String {
    let system = io_errors(error)
        .filter(|error| error.raw_os_error().is_some())
        .last();
    system.unwrap_or(error).to_string()
}

/// One of the two that talk over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Party {
    /// It does not take its answer.
    Client,
    /// It does not answer, or does not take the request.
    Target,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "write the answer: the client took nothing of it",
            Self::Target => "read the answer: the target made no progress",
        })
    }
}

/// A part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestPart {
    /// The request line and the fields.
    Head,
    /// The content.
    Body,
}

impl fmt::Display for RequestPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Head => "its head was not complete",
            Self::Body => "no more of its body had come",
        })
    }
}

/// What a client said that an answer is owed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Asked {
    /// At least one whole HTTP/1 request: head and body, with an end that no server takes for another.
    Request,
    /// Any bytes else: a raw stream, something that is not HTTP/1, a part of a request, or one that servers read in different ways
    /// (line ends without a carriage return, two framings, fields that are none). The target may wait for more.
    Bytes,
}

/// What a limit counts over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitScope {
    /// One target.
    Target,
    /// The whole proxy.
    Proxy,
}

impl fmt::Display for LimitScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Target => "target",
            Self::Proxy => "proxy",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("open a stream to port {port} of guest seven")]
    struct Opening {
        port: u16,
        source: io::Error,
    }

    #[test]
    fn a_connect_error_names_its_first_cause_and_keeps_all_of_them() {
        let opening = Opening {
            port: 80,
            source: io::Error::from_raw_os_error(24),
        };
        let error = HoldError::connect(io::Error::other(opening));
        assert!(matches!(error, HoldError::ConnectRefused(_)), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains("no connection to be had now") && text.contains("(os error 24)"),
            "{text}"
        );
        assert!(!text.contains("guest seven"), "{text}");
        assert!(error.source().unwrap().to_string().contains("guest seven"));
    }

    #[test]
    fn only_want_of_room_is_worth_another_try() {
        use io::ErrorKind::{ConnectionRefused, HostUnreachable, PermissionDenied, QuotaExceeded, TimedOut};
        for kind in [ConnectionRefused, QuotaExceeded] {
            let error = HoldError::connect(io::Error::new(kind, "512 of 512 taken"));
            assert!(matches!(error, HoldError::ConnectRefused(_)), "{kind}");
            assert!(error.to_string().contains("512 of 512 taken"), "{error}");
        }
        for kind in [HostUnreachable, PermissionDenied, TimedOut] {
            let error = HoldError::connect(kind.into());
            assert!(matches!(error, HoldError::ConnectFailed(_)), "{kind}");
        }
    }
}
