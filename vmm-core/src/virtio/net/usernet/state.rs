//! What a link saves, and the streams that stay open meanwhile.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;

use serde::{Deserialize, Serialize};

use super::handle::Request;
use super::link::Position;
use super::tcp::{TcpState, TcpStateError};

/// Names a connection of a link while it lives, across saving and restoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectionId(pub u16);

/// What is at the host's end of a saved connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SavedHost {
    /// Nobody yet: it is a spare one.
    Spare,
    /// A stream.
    Stream,
    /// Nobody any more.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConnectionState {
    pub(crate) host: SavedHost,
    pub(crate) tcp: TcpState,
    pub(crate) to_guest: Vec<u8>,
    pub(crate) to_host: Vec<u8>,
}

/// The state of a link: plain, untrusted until it is attached. It carries no version; whoever stores it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserNetState {
    pub(crate) position: Position,
    pub(crate) connections: Vec<ConnectionState>,
}

/// The host ends of a link's connections while the link itself is saved: its users notice nothing. Dropping a stream
/// closes it.
#[derive(Debug, Default)]
pub struct DetachedStreams {
    pub(crate) streams: BTreeMap<ConnectionId, UnixStream>,
    /// Requests that had no connection yet, oldest first.
    pub(crate) waiting: Vec<Request>,
}

impl DetachedStreams {
    /// How many streams there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.streams.len() + self.waiting.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds the stream of a connection, such as one that was passed from another process.
    pub fn insert(&mut self, id: ConnectionId, stream: UnixStream) {
        self.streams.insert(id, stream);
    }

    /// Adds a stream that still waits to be connected to `port` of the guest.
    pub fn insert_waiting(&mut self, port: u16, stream: UnixStream) {
        self.waiting.push(Request { port, stream });
    }

    /// Takes the streams of connections out.
    pub fn take_streams(&mut self) -> impl Iterator<Item = (ConnectionId, UnixStream)> + use<> {
        std::mem::take(&mut self.streams).into_iter()
    }

    /// Takes out the streams that still wait to be connected, with the guest's port, oldest first.
    pub fn take_waiting(&mut self) -> impl Iterator<Item = (u16, UnixStream)> + use<> {
        std::mem::take(&mut self.waiting)
            .into_iter()
            .map(|request| (request.port, request.stream))
    }
}

/// A saved state cannot be attached to this link.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// It has more connections than the link allows, spares included.
    #[error("attach link state: {found} connections, the link allows {limit}")]
    Connections {
        /// Connections in the state.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Its waiting answers are too many or too long.
    #[error("attach link state: {count} waiting answers of up to {longest} bytes")]
    Replies {
        /// How many.
        count: usize,
        /// The longest, in bytes.
        longest: usize,
    },
    /// A connection's port is out of range or used twice.
    #[error("attach link state: connection port {port} is out of range or used twice")]
    Port {
        /// The port.
        port: u16,
    },
    /// A connection contradicts itself.
    #[error("attach link state: connection {port}")]
    Connection {
        /// Our port of it.
        port: u16,
        /// How.
        source: TcpStateError,
    },
}
