//! How other threads ask a link for connections.

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vmm_sys_util::eventfd::EventFd;

use super::counters::{Counters, UserNetCounts};

/// A connection could not be asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// There are as many connections as the link allows.
    #[error("connect to guest port {port}: the link has its {limit} connections")]
    Full {
        /// The guest's port.
        port: u16,
        /// The link's limit.
        limit: usize,
    },
    /// The link's state has been taken away, or the link is gone.
    #[error("connect to guest port {port}: the link is detached")]
    Detached {
        /// The guest's port.
        port: u16,
    },
    /// The system refused a descriptor.
    #[error("connect to guest port {port}")]
    Stream {
        /// The guest's port.
        port: u16,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A stream that wants to be connected to a port of the guest.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) port: u16,
    pub(crate) stream: UnixStream,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) requests: VecDeque<Request>,
    /// The link takes requests.
    pub(crate) open: bool,
    /// At the end of the last pass all spares were ready and nothing was under way.
    pub(crate) settled: bool,
    /// Threads that wait for that.
    waiters: usize,
}

/// What a link and its handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Guards the requests that the link has not seen. Held for a few instructions; no other lock is taken inside.
    inbox: Mutex<Inbox>,
    /// The link has settled, or will not any more. Goes with `inbox`.
    settled: Condvar,
    /// Wakes the link.
    pub(crate) event: EventFd,
    /// Signalled each time that all spares have become ready.
    pub(crate) spares_event: EventFd,
    pub(crate) spares_ready: AtomicBool,
    /// Handles ask for spares to be tried now.
    pub(crate) refill: AtomicBool,
    pub(crate) quiet: AtomicBool,
    /// Connections and requests, spares not counted; at most `limit`.
    connections: AtomicUsize,
    limit: usize,
    pub(crate) counters: Arc<Counters>,
}

impl Shared {
    pub(crate) fn new(event: EventFd, spares_event: EventFd, limit: usize) -> Self {
        Shared {
            inbox: Mutex::new(Inbox {
                requests: VecDeque::new(),
                open: true,
                settled: false,
                waiters: 0,
            }),
            settled: Condvar::new(),
            event,
            spares_event,
            spares_ready: AtomicBool::new(false),
            refill: AtomicBool::new(false),
            quiet: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            limit,
            counters: Arc::default(),
        }
    }

    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // Nothing can panic while it is held.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pass has ended, and whether the link has settled with it.
    pub(crate) fn pass_ended(&self, quiet: bool) {
        let mut inbox = self.inbox();
        let quiet = quiet && inbox.requests.is_empty();
        inbox.settled = quiet && self.spares_ready.load(Ordering::Acquire);
        self.quiet.store(quiet, Ordering::Relaxed);
        if inbox.settled && inbox.waiters > 0 {
            self.settled.notify_all();
        }
    }

    /// Takes no more requests and answers those that nobody has seen.
    pub(crate) fn shut(&self) -> VecDeque<Request> {
        let mut inbox = self.inbox();
        (inbox.open, inbox.settled) = (false, false);
        self.settled.notify_all();
        std::mem::take(&mut inbox.requests)
    }

    /// One connection fewer.
    pub(crate) fn release(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// One connection more, that was not asked for through a handle.
    pub(crate) fn adopt(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    fn reserve(&self) -> bool {
        let one_more = |count| (count < self.limit).then_some(count + 1);
        self.connections
            .try_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
    }

    fn wake(&self) {
        // It can only fail when the counter is full, and then the link is awake already.
        let _ = self.event.write(1);
    }
}

/// Reaches a user-mode link from any thread. Nothing but [`wait_settled`](Self::wait_settled) blocks.
#[derive(Clone, Debug)]
pub struct UserNetHandle {
    shared: Arc<Shared>,
}

impl UserNetHandle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        UserNetHandle { shared }
    }

    /// Opens a connection to TCP port `port` of the guest and answers the host's end, a non-blocking stream, at once.
    ///
    /// Bytes written before the guest has accepted are held. If a spare connection to the port is ready it is used, and
    /// no handshake takes place. When the guest refuses or resets the connection the stream reads as closed; when it ends
    /// its direction the stream reads to its end and can still be written.
    ///
    /// A guest that does not answer for 102 s while its VM is not paused, whether it takes no frames or drops them, has
    /// the stream closed and counted in [`connections_timed_out`](UserNetCounts::connections_timed_out). A request that
    /// waits for one of the [`max_handshakes`](super::UserNetConfig::max_handshakes) has as long again for its turn.
    ///
    /// # Errors
    /// The link is full or detached, or the process is out of descriptors (two are used).
    pub fn connect(&self, port: u16) -> Result<UnixStream, ConnectError> {
        if !self.shared.reserve() {
            return Err(ConnectError::Full {
                port,
                limit: self.shared.limit,
            });
        }
        let stream = self.request(port);
        if stream.is_err() {
            self.shared.release();
        }
        stream
    }

    fn request(&self, port: u16) -> Result<UnixStream, ConnectError> {
        let pair = || {
            let (ours, theirs) = UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            theirs.set_nonblocking(true)?;
            Ok((ours, theirs))
        };
        let (ours, theirs) = pair().map_err(|source| ConnectError::Stream { port, source })?;
        {
            let mut inbox = self.shared.inbox();
            if !inbox.open {
                return Err(ConnectError::Detached { port });
            }
            inbox.requests.push_back(Request { port, stream: theirs });
            inbox.settled = false;
            self.shared.quiet.store(false, Ordering::Relaxed);
        }
        self.shared.wake();
        Ok(ours)
    }

    /// Whether nothing was under way at the end of the last pass: no unacknowledged or buffered byte, no handshake, no
    /// request. A hint: it may change at any time while the VM runs.
    pub fn is_quiet(&self) -> bool {
        self.shared.quiet.load(Ordering::Relaxed)
    }

    /// Whether all spare connections are established.
    pub fn spares_ready(&self) -> bool {
        self.shared.spares_ready.load(Ordering::Acquire)
    }

    /// An eventfd that is signalled each time that [`spares_ready`](Self::spares_ready) has become true. Non-blocking.
    pub fn spares_event(&self) -> &EventFd {
        &self.shared.spares_event
    }

    /// Waits until all spare connections are ready and nothing is under way, at most for `timeout`, and says whether it is so.
    /// `false` at once if the link is detached: its VM has stopped, or was saved with its streams. Blocks the thread.
    #[must_use]
    pub fn wait_settled(&self, timeout: Duration) -> bool {
        let mut inbox = self.shared.inbox();
        inbox.waiters += 1;
        let unsettled = |inbox: &mut Inbox| inbox.open && !inbox.settled;
        let (mut inbox, _) = self
            .shared
            .settled
            .wait_timeout_while(inbox, timeout, unsettled)
            .unwrap_or_else(PoisonError::into_inner);
        inbox.waiters -= 1;
        inbox.settled
    }

    /// The guest is known to serve now: spare connections that it refused before are tried again at once.
    pub fn refill_spares(&self) {
        self.shared.refill.store(true, Ordering::Release);
        self.shared.wake();
    }

    /// Connections and requests at the moment, spares not counted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// What the link has counted so far.
    pub fn counts(&self) -> UserNetCounts {
        self.shared.counters.counts()
    }
}
