//! The host's end of a connection: bytes between a socket and our TCP.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use rustix::net::sockopt;
use vmm_sys_util::epoll::EventSet;

use super::tcp::{Endpoint, RECEIVE_CAPACITY, Sending};

/// A socket on its way through a connection's life.
#[derive(Debug)]
pub(crate) struct HostStream {
    stream: UnixStream,
    /// It may have bytes that were not read: not known otherwise, or no room for them.
    pub(crate) readable: bool,
    /// The host has closed it, so that it needs no watching: writes fail, and what is left to read stays readable.
    pub(crate) hung_up: bool,
    /// Our direction was shut down after the guest's last byte.
    finished: bool,
    /// What it is registered for, if it is registered.
    pub(crate) interest: Option<EventSet>,
}

impl HostStream {
    pub(crate) fn new(stream: UnixStream) -> Self {
        HostStream {
            stream,
            readable: true,
            hung_up: false,
            finished: false,
            interest: None,
        }
    }

    /// The stream of a restored connection: what it has to read, its registration will tell.
    pub(crate) fn restored(stream: UnixStream) -> Self {
        HostStream {
            readable: false,
            ..HostStream::new(stream)
        }
    }

    pub(crate) fn into_stream(self) -> UnixStream {
        self.stream
    }

    /// Writes the guest's `bytes` and answers how many the socket took.
    pub(crate) fn push(&self, bytes: &[u8]) -> Result<usize> {
        push(&self.stream, bytes)
    }

    /// Moves what can be moved in both directions, and the ends of both.
    pub(crate) fn exchange(&mut self, tcp: &mut Endpoint) -> Result<()> {
        while !tcp.to_host().is_empty() {
            let front = tcp.to_host().front();
            let (count, all) = (self.push(front)?, front.len());
            tcp.taken(count);
            if count < all {
                break;
            }
        }
        if tcp.host_has_all() && !self.finished {
            self.finished = true;
            self.stream.shutdown(Shutdown::Write)?;
        }
        self.pull(tcp)
    }

    /// Reads what there is room for.
    fn pull(&mut self, tcp: &mut Endpoint) -> Result<()> {
        while self.readable && tcp.state().sending == Sending::Open {
            let space = tcp.to_guest_mut().space();
            if space.is_empty() {
                return Ok(());
            }
            match (&self.stream).read(space) {
                Ok(0) => {
                    tcp.finish();
                    self.readable = false;
                }
                Ok(count) => {
                    // A short read has emptied the socket, which saves asking again; only its end may be behind it.
                    self.readable = count == space.len() || self.hung_up;
                    tcp.to_guest_mut().commit(count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What to watch the socket for, or `None` if it is not to be watched.
    pub(crate) fn wanted(&self, tcp: &Endpoint) -> Option<EventSet> {
        if self.hung_up {
            return None;
        }
        let mut events = EventSet::empty();
        events.set(
            EventSet::IN,
            !self.readable && tcp.state().sending == Sending::Open,
        );
        events.set(EventSet::OUT, !tcp.to_host().is_empty());
        Some(events)
    }
}

impl AsRawFd for HostStream {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

fn push(mut stream: &UnixStream, mut bytes: &[u8]) -> Result<usize> {
    let mut pushed = 0;
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => {
                pushed += count;
                bytes = bytes.get(count..).unwrap_or_default();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(pushed)
}

/// Leaves the last `bytes` of a connection in the socket, before it is closed, also if it is full: what waits to be read then
/// costs the system memory for as long as the reader keeps its own end, and nobody else anything.
pub(crate) fn leave(stream: &UnixStream, bytes: &[u8]) {
    let left = leave_in(stream, bytes);
    // A reader that is gone misses nothing. Otherwise `net.core.wmem_max` is below its default, or memory is short.
    if left.as_ref().is_ok_and(|left| *left < bytes.len()) {
        tracing::debug!(
            ?left,
            of = bytes.len(),
            "the last bytes of a guest do not fit into its reader's socket"
        );
    }
}

fn leave_in(stream: &UnixStream, bytes: &[u8]) -> Result<usize> {
    let pushed = push(stream, bytes)?;
    let rest = bytes.get(pushed..).unwrap_or_default();
    if rest.is_empty() {
        return Ok(pushed);
    }
    // The system doubles what it is given (socket(7)): there is as much room again, at least for all that a connection holds.
    let room = sockopt::socket_send_buffer_size(stream)?.max(2 * RECEIVE_CAPACITY);
    sockopt::set_socket_send_buffer_size(stream, room)?;
    Ok(pushed + push(stream, rest)?)
}
