//! How much may wait, and for how long.

use std::time::Duration;

/// Bounds on what the proxy holds for targets that are not awake, and on how long a connection may stand still. `Default`
/// suits one host with some thousand targets.
///
/// Every field is checked by [`Proxy::new`](crate::Proxy::new): zero would refuse everything and is an error, but for
/// [`silence_time`](Self::silence_time).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections that may wait at one target's gate; the next is refused. Default 1,024.
    pub held_connections: usize,
    /// Bytes held of one waiting connection; at this limit the proxy stops reading from it. With
    /// [`Protocol::Http1`](crate::Protocol::Http1) also the longest head that a target is woken for. Default 64 KiB.
    pub held_bytes_per_connection: usize,
    /// Bytes held of all connections that wait at one gate. Default 8 MiB.
    pub held_bytes_per_target: usize,
    /// Bytes held by the whole proxy. Default 64 MiB.
    pub held_bytes_total: usize,
    /// How long a connection may wait at the gate before it is refused. Default 30 s.
    pub hold_time: Duration,
    /// How long a connect to an awake backend may take. Default 5 s.
    pub connect_time: Duration,
    /// How long an answer that is owed may make no progress: no byte from the backend, and none taken by the client; also how
    /// long the backend may not take a request that is there for it. Then [`HoldError::AnswerTimeOver`]: the client is
    /// refused, or reset if its answer has begun. Default 60 s.
    ///
    /// This and the next two apply to listeners that carry [`Protocol::Http1`], and none of them while a connection is
    /// held at the gate: that has its own limit.
    ///
    /// [`HoldError::AnswerTimeOver`]: crate::HoldError::AnswerTimeOver
    /// [`Protocol::Http1`]: crate::Protocol::Http1
    pub answer_time: Duration,
    /// The same, once the client has sent its end: it may still read its answer, but may also be gone. Counted from that
    /// end at the earliest, and also when no answer is owed but the backend does not end the connection in turn. Then
    /// [`HoldError::Abandoned`](crate::HoldError::Abandoned). Default 5 s.
    pub abandoned_time: Duration,
    /// How long the head of a request may take from its first byte to its last, and how long a body may pause between
    /// two bytes; while the backend owes an answer or does not take the request, neither counts. Then
    /// [`HoldError::RequestTimeOver`](crate::HoldError::RequestTimeOver). Default 30 s.
    pub request_time: Duration,
    /// Client connections open to one target, quiet ones included. At this limit the connection that has been silent for
    /// longest is closed to make room, as web servers do: one that has not said anything yet, or one that carries
    /// [`Protocol::Http1`](crate::Protocol::Http1) and is between two requests, or in a head that does not get on. When there
    /// is none, newcomers wait in the listener's backlog for a connection to end or to fall silent. When none has for
    /// [`hold_time`](Self::hold_time), they are refused until one does. Default 16,384.
    pub connections_per_target: usize,
    /// The same for all targets together. A connection takes one descriptor, and the backend's stream at least one more: at
    /// most a third of the descriptors that the process may have is a good value, less what it needs for other things.
    /// Default 65,536.
    pub connections_total: usize,
    /// How long a connection is spared that has just fallen silent, so that one which has connected but not spoken yet is
    /// not closed for the next; a newcomer waits as long for its place. May be zero. Default 100 ms.
    pub silence_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            held_connections: 1024,
            held_bytes_per_connection: 64 * 1024,
            held_bytes_per_target: 8 * 1024 * 1024,
            held_bytes_total: 64 * 1024 * 1024,
            hold_time: Duration::from_secs(30),
            connect_time: Duration::from_secs(5),
            answer_time: Duration::from_secs(60),
            abandoned_time: Duration::from_secs(5),
            request_time: Duration::from_secs(30),
            connections_per_target: 16 * 1024,
            connections_total: 64 * 1024,
            silence_time: Duration::from_millis(100),
        }
    }
}

impl Limits {
    /// Checks that every limit lets at least one request of one byte through.
    pub(crate) fn check(&self) -> Result<(), InvalidLimits> {
        let zero = [
            ("held_connections", self.held_connections == 0),
            ("held_bytes_per_connection", self.held_bytes_per_connection == 0),
            ("hold_time", self.hold_time.is_zero()),
            ("connect_time", self.connect_time.is_zero()),
            ("answer_time", self.answer_time.is_zero()),
            ("abandoned_time", self.abandoned_time.is_zero()),
            ("request_time", self.request_time.is_zero()),
            ("connections_per_target", self.connections_per_target == 0),
            ("connections_total", self.connections_total == 0),
        ];
        if let Some((field, _)) = zero.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(InvalidLimits::Zero { field });
        }
        let nested = [
            (
                "held_bytes_per_connection",
                self.held_bytes_per_connection,
                "held_bytes_per_target",
                self.held_bytes_per_target,
            ),
            (
                "held_bytes_per_target",
                self.held_bytes_per_target,
                "held_bytes_total",
                self.held_bytes_total,
            ),
        ];
        for (inner, inner_bytes, outer, outer_bytes) in nested {
            if inner_bytes > outer_bytes {
                return Err(InvalidLimits::Nesting {
                    inner,
                    inner_bytes,
                    outer,
                    outer_bytes,
                });
            }
        }
        Ok(())
    }
}

/// [`Limits`] that would let nothing through, or contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLimits {
    /// A limit of zero would refuse everything.
    #[error("limit {field} is zero and would refuse everything")]
    Zero {
        /// Name of the field.
        field: &'static str,
    },
    /// An inner limit is larger than the one around it.
    #[error("limit {inner} ({inner_bytes} bytes) exceeds {outer} ({outer_bytes} bytes)")]
    Nesting {
        /// Name of the inner field.
        inner: &'static str,
        /// Its value.
        inner_bytes: usize,
        /// Name of the outer field.
        outer: &'static str,
        /// Its value.
        outer_bytes: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_limits_are_valid() {
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn a_zero_limit_is_named() {
        type Time = fn(&mut Limits) -> &mut Duration;
        let zeroes: [(&str, Time); 5] = [
            ("hold_time", |limits| &mut limits.hold_time),
            ("connect_time", |limits| &mut limits.connect_time),
            ("answer_time", |limits| &mut limits.answer_time),
            ("abandoned_time", |limits| &mut limits.abandoned_time),
            ("request_time", |limits| &mut limits.request_time),
        ];
        for (field, time) in zeroes {
            let mut limits = Limits::default();
            *time(&mut limits) = Duration::ZERO;
            assert_eq!(limits.check(), Err(InvalidLimits::Zero { field }));
        }
    }

    #[test]
    fn a_connection_may_not_hold_more_than_its_target() {
        let limits = Limits {
            held_bytes_per_connection: 10,
            held_bytes_per_target: 9,
            ..Limits::default()
        };
        assert!(matches!(limits.check(), Err(InvalidLimits::Nesting { .. })));
    }
}
