//! Saving a link and going on with a saved one, or ending it, while the event loop stands still.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::config::UserNetConfig;
use super::handle::Request;
use super::host_stream::{self, HostStream};
use super::link::{Connection, FIRST_PORT, Link, MAX_REPLIES, Position};
use super::spares::{REFILL_DELAY_MS, SparePool};
use super::state::{AttachError, ConnectionId, ConnectionState, DetachedStreams, SavedHost, UserNetState};
use super::tcp::{Endpoint, Phase};
use super::time::Millis;
use super::usernet::{Host, HostSide, UserNet};

impl UserNet {
    /// The state of the link, which goes on as it is. The guest and the event loop must be standing still.
    #[must_use]
    pub(crate) fn state(&self) -> UserNetState {
        let connection = |connection: &Connection<HostSide>| ConnectionState {
            host: match connection.host.host {
                Host::Spare => SavedHost::Spare,
                Host::Stream(_) => SavedHost::Stream,
                Host::Gone => SavedHost::Gone,
            },
            tcp: connection.tcp.state().clone(),
            to_guest: connection.tcp.to_guest().to_vec(),
            to_host: connection.tcp.to_host().to_vec(),
        };
        // What is closed is already past saving.
        let alive = self
            .link
            .connections()
            .filter(|connection| !connection.tcp.is_over());
        UserNetState {
            position: self.link.position(),
            connections: alive.map(connection).collect(),
        }
    }

    /// Takes the state of the link away, and the streams with it, which stay open. The guest and the event loop must be
    /// standing still. The link is empty afterwards and its handles refuse to connect, until a state is attached.
    pub(crate) fn detach(&mut self) -> (UserNetState, DetachedStreams) {
        let state = self.state();
        let mut streams = DetachedStreams::default();
        let link = self.replace_link();
        for connection in link.into_connections() {
            let id = ConnectionId(connection.tcp.state().host_port);
            if let Host::Stream(stream) = connection.host.host {
                self.unwatch(&stream);
                streams.insert(id, stream.into_stream());
                self.shared.release();
            } else if let Host::Gone = connection.host.host {
                self.shared.release();
            }
        }
        let posted = self.shared.shut();
        streams.waiting = std::mem::take(&mut self.waiting)
            .into_iter()
            .map(|waiting| waiting.request)
            .chain(posted)
            .collect();
        for _ in &streams.waiting {
            self.shared.release();
        }
        self.spares = SparePool::new(&[], Millis(0));
        self.handshakes = 0;
        self.shared.spares_ready.store(false, Ordering::Release);
        if self.armed.is_some() {
            self.disarm();
        }
        (state, streams)
    }

    /// Ends the link, whose guest is gone: all streams are closed, and what was acknowledged to the guest and their users have
    /// not read waits for them in the sockets. Blocks for nobody, and nothing of the link is kept for it. Another thread must
    /// not be serving the link.
    pub(crate) fn end(&mut self) {
        let (state, streams) = self.detach();
        for connection in state.connections {
            if let Some(stream) = streams.streams.get(&ConnectionId(connection.tcp.host_port)) {
                host_stream::leave(stream, &connection.to_host);
            }
        }
    }

    /// Goes on with a saved state, in place of what the link has. Each connection gets its stream from `streams`; one
    /// that has none is reset towards the guest (a clone has none at all). Streams without a connection are closed.
    ///
    /// The guest and the event loop must be standing still; kick the device when the guest
    /// may run.
    ///
    /// # Errors
    /// The state contradicts itself or the link's limits. The link is then empty, and all streams are closed.
    pub(crate) fn attach(
        &mut self,
        state: UserNetState,
        mut streams: DetachedStreams,
    ) -> Result<(), AttachError> {
        drop(self.detach());
        let now = self.now();
        let restored = restore(&self.config, self.link.max_mss(), now, state)?;
        self.link.set_position(restored.position);
        self.spares = SparePool::new(&self.config.spares, now.plus(REFILL_DELAY_MS));
        for (saved, tcp) in restored.connections {
            self.adopt(saved, tcp, &mut streams);
        }
        self.shared.inbox().open = true;
        for Request { port, stream } in streams.waiting {
            self.shared.adopt();
            self.serve(Request { port, stream });
        }
        self.register();
        self.announce_spares();
        Ok(())
    }

    fn adopt(&mut self, saved: SavedHost, mut tcp: Endpoint, streams: &mut DetachedStreams) {
        let id = tcp.state().host_port;
        let connecting = tcp.state().phase == Phase::SynSent;
        let host = match saved {
            // A spare that was being opened is opened anew; the guest's answer to the old one is reset.
            SavedHost::Spare if !connecting && self.spares.adopt(tcp.state().guest_port, id) => Host::Spare,
            SavedHost::Spare => Host::Gone,
            SavedHost::Stream => match streams.streams.remove(&ConnectionId(id)) {
                Some(stream) => Host::Stream(HostStream::restored(stream)),
                None => Host::Gone,
            },
            SavedHost::Gone => Host::Gone,
        };
        if matches!(host, Host::Gone) {
            tcp.abort();
        }
        if !matches!(host, Host::Spare) {
            self.shared.adopt();
        }
        let connecting = connecting && matches!(host, Host::Stream(_));
        self.handshakes += usize::from(connecting);
        let established = tcp.state().phase == Phase::Open;
        self.link.insert(tcp, HostSide { host, connecting });
        if established {
            self.watch(id);
        }
    }

    fn replace_link(&mut self) -> Link<HostSide> {
        let empty = Link::new(
            &self.config.net,
            self.config.egress,
            Arc::clone(&self.shared.counters),
        );
        std::mem::replace(&mut self.link, empty)
    }
}

/// A state that was found sound.
pub(super) struct Restored {
    pub(super) position: Position,
    pub(super) connections: Vec<(SavedHost, Endpoint)>,
}

pub(super) fn restore(
    config: &UserNetConfig,
    max_mss: u16,
    now: Millis,
    state: UserNetState,
) -> Result<Restored, AttachError> {
    let spares: usize = config.spares.iter().map(|spare| spare.count).sum();
    // A lost spare may still be on its way out beside the one that replaces it.
    let limit = config.max_connections + 2 * spares;
    if state.connections.len() > limit {
        return Err(AttachError::Connections {
            found: state.connections.len(),
            limit,
        });
    }
    let replies = &state.position.replies;
    let longest = replies.iter().map(Vec::len).max().unwrap_or(0);
    if replies.len() > MAX_REPLIES || longest > config.net.max_frame_bytes() {
        return Err(AttachError::Replies {
            count: replies.len(),
            longest,
        });
    }
    let mut ports: Vec<u16> = state
        .connections
        .iter()
        .map(|connection| connection.tcp.host_port)
        .collect();
    ports.sort_unstable();
    let repeated = ports
        .iter()
        .zip(ports.iter().skip(1))
        .find(|(port, next)| port == next);
    if let Some(&port) = ports
        .first()
        .filter(|port| **port < FIRST_PORT)
        .or(repeated.map(|(port, _)| port))
    {
        return Err(AttachError::Port { port });
    }
    let restore = |connection: ConnectionState| {
        let ConnectionState {
            host,
            tcp,
            to_guest,
            to_host,
        } = connection;
        let port = tcp.host_port;
        let endpoint = Endpoint::restore(now, tcp, &to_guest, &to_host, max_mss);
        Ok((
            host,
            endpoint.map_err(|source| AttachError::Connection { port, source })?,
        ))
    };
    let connections = state
        .connections
        .into_iter()
        .map(restore)
        .collect::<Result<_, _>>()?;
    Ok(Restored {
        position: state.position,
        connections,
    })
}
