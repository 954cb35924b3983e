//! One TCP connection: a socket, and the conversation on it.

use alloc::vec;
use alloc::vec::Vec;

use guest_kernel::{App, MAX_HEAD_LEN, MAX_REPLY_LEN, Scratch, Session, Waiting};
use smoltcp::iface::{SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Duration;

use super::PORT;

const RECEIVE_LEN: usize = 4 << 10;
const SEND_LEN: usize = 8 << 10;
/// How long a peer may be silent while it owes us an acknowledgement.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection; one that is over can be used again.
pub(super) struct Connection {
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    session: Session,
    /// The start of a request that does not fit the receive buffer in one piece.
    inbox: Vec<u8>,
    /// Bytes that the peer had not acknowledged at the last look.
    unsent_len: usize,
}

impl Connection {
    /// Makes a connection, unless memory is short.
    pub(super) fn new() -> Option<Self> {
        let storage = vec![SocketStorage::EMPTY];
        let mut sockets = SocketSet::new(storage);
        let mut socket = Socket::new(buffer(RECEIVE_LEN)?, buffer(SEND_LEN)?);
        // Acknowledgements ride on replies; there is nothing to be gained by waiting, and a timer would linger.
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        let handle = sockets.add(socket);
        Some(Self {
            sockets,
            handle,
            session: Session::new(),
            inbox: Vec::new(),
            unsent_len: 0,
        })
    }

    /// Waits for the one peer whose first segment is at hand.
    pub(super) fn listen(&mut self) {
        self.session = Session::new();
        self.inbox = Vec::new();
        self.unsent_len = 0;
        let socket = self.socket();
        // Forgets a connection that has ended, and says nothing about it: `listen` leaves nothing to reset.
        socket.abort();
        socket.set_timeout(Some(PATIENCE));
        // Only a socket in use or port 0 is refused.
        let _ = socket.listen(PORT);
    }

    /// The set with the one socket.
    pub(super) fn sockets(&mut self) -> &mut SocketSet<'static> {
        &mut self.sockets
    }

    /// Whether the peer has everything that was said and knows that nothing more comes, or never will.
    pub(super) fn has_said_all(&self) -> bool {
        matches!(
            self.sockets.get::<Socket<'_>>(self.handle).state(),
            State::Closed | State::Listen | State::TimeWait | State::FinWait2
        )
    }

    /// What would have the connection come further.
    pub(super) fn waiting(&self) -> Waiting {
        let socket = self.sockets.get::<Socket<'_>>(self.handle);
        let nothing_begun = self.session.is_idle() && socket.recv_queue() == 0 && self.inbox.is_empty();
        if socket.send_queue() > 0 {
            Waiting::Peer
        } else if nothing_begun || self.session.is_closing() {
            Waiting::Settled
        } else {
            Waiting::Request
        }
    }

    /// Closes a connection on which nothing has happened for long, unless a request has begun: that has a time of its
    /// own. One that has been closed and has not ended since then is aborted.
    #[cold]
    pub(super) fn dismiss(&mut self) {
        if self.session.is_closing() {
            self.abort();
        } else if self.waiting() == Waiting::Settled {
            self.session.close();
        }
    }

    /// Ends the connection by a reset, which is the next thing to be sent.
    #[cold]
    pub(super) fn abort(&mut self) {
        self.socket().abort();
    }

    /// Whether the connection has ended. `TIME-WAIT` is not waited for: the link neither loses nor delays, so that no
    /// old segment can meet a new connection.
    pub(super) fn is_over(&mut self) -> bool {
        matches!(
            self.socket().state(),
            State::Closed | State::TimeWait | State::Listen
        )
    }

    /// Answers what has been received, as far as there is room for replies. Whether it, or what was sent before, has
    /// come any further.
    pub(super) fn advance(&mut self, now_ns: u64, scratch: &mut Scratch, app: &mut impl App) -> bool {
        let mut progress = false;
        loop {
            let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
            let room = socket.send_capacity() - socket.send_queue();
            scratch.out.clear();
            let consumed = if self.inbox.is_empty() {
                let session = &mut self.session;
                let step = socket.recv(|data| {
                    let consumed = session.advance(data, room, now_ns, scratch, app);
                    (consumed, (consumed, data.len()))
                });
                match step {
                    // The rest of a request's head is behind the end of the ring, or has no room to come.
                    Ok((0, len)) if len > 0 && room >= MAX_REPLY_LEN && is_stuck(socket, len) => {
                        if take_in(socket, &mut self.inbox).is_none() {
                            socket.abort();
                            return progress;
                        }
                        continue;
                    }
                    Ok((consumed, _)) => consumed,
                    Err(_) => 0,
                }
            } else {
                if self.inbox.len() < MAX_HEAD_LEN && take_in(socket, &mut self.inbox).is_none() {
                    socket.abort();
                    return progress;
                }
                let consumed = self.session.advance(&self.inbox, room, now_ns, scratch, app);
                self.inbox.drain(..consumed);
                if self.inbox.is_empty() {
                    self.inbox = Vec::new();
                }
                consumed
            };
            // As much as there is room for; a peer that has gone gets nothing.
            let _ = socket.send_slice(&scratch.out);
            if consumed > 0 || !scratch.out.is_empty() {
                progress = true;
                continue;
            }
            let unanswerable = socket.state() == State::CloseWait && room >= MAX_REPLY_LEN;
            if self.session.is_closing() || unanswerable {
                socket.close();
            }
            let quiet =
                matches!(socket.state(), State::Established | State::CloseWait) && socket.send_queue() == 0;
            socket.set_timeout(if quiet { None } else { Some(PATIENCE) });
            progress |= socket.send_queue() != self.unsent_len;
            self.unsent_len = socket.send_queue();
            return progress;
        }
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }
}

/// Whether no more can be received behind the `len` bytes at the front of the receive buffer.
fn is_stuck(socket: &Socket<'_>, len: usize) -> bool {
    socket.recv_queue() > len || socket.recv_queue() == socket.recv_capacity()
}

/// Moves everything received to `inbox`; `None` if memory is short.
fn take_in(socket: &mut Socket<'_>, inbox: &mut Vec<u8>) -> Option<()> {
    while socket.can_recv() {
        let moved = socket.recv(|data| {
            let fits = inbox.try_reserve(data.len()).is_ok();
            if fits {
                inbox.extend_from_slice(data);
            }
            (if fits { data.len() } else { 0 }, fits)
        });
        moved.ok().filter(|&fits| fits)?;
    }
    Some(())
}

fn buffer(len: usize) -> Option<SocketBuffer<'static>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).ok()?;
    bytes.resize(len, 0);
    Some(SocketBuffer::new(bytes))
}
