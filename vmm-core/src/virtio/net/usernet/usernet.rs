//! The link on the event loop: sockets, the timer and the requests of handles around the pure [`Link`].

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};
use vmm_sys_util::timerfd::TimerFd;

use super::config::{UserNetConfig, UserNetError};
use super::handle::{Request, Shared, UserNetHandle};
use super::host_stream::HostStream;
use super::link::Link;
use super::spares::{REFILL_DELAY_MS, SparePool};
use super::tcp::{Ending, Phase, Receiving, Sending};
use super::time::{Millis, earliest};
use crate::virtio::net::backend::{Frame, NetBackend};

/// How long the guest may keep a connection whose host end is gone.
const LINGER_MS: u64 = 2_000;
/// Events taken at a time; more wait for the next pass.
const EVENTS: usize = 64;
/// Event data of what is not a connection, whose port is its data.
const INBOX: u64 = 1 << 32;
const TIMER: u64 = 2 << 32;

/// What is at the host's end of a connection.
#[derive(Debug)]
pub(super) enum Host {
    /// Nobody yet.
    Spare,
    Stream(HostStream),
    /// Nobody any more.
    Gone,
}

/// The host side of a connection.
#[derive(Debug)]
pub(super) struct HostSide {
    pub(super) host: Host,
    /// It is counted among the handshakes.
    pub(super) connecting: bool,
}

/// A private user-mode link to one VM.
///
/// It is the [`NetBackend`] of the VM's network device and lives on its event loop. Other threads reach it through its
/// [`handle`](Self::handle). Its own epoll descriptor is all that the event loop knows of it, so that streams can come and
/// go while the loop stands still.
#[derive(Debug)]
pub struct UserNet {
    pub(super) config: UserNetConfig,
    pub(super) link: Link<HostSide>,
    pub(super) spares: SparePool,
    /// Requests that wait for a handshake to end.
    pub(super) waiting: VecDeque<Request>,
    pub(super) handshakes: usize,
    pub(super) shared: Arc<Shared>,
    epoll: Epoll,
    events: Box<[EpollEvent]>,
    /// Connections whose stream is to be registered anew.
    unregistered: Vec<u16>,
    timer: TimerFd,
    armed: Option<Millis>,
    start: Instant,
    /// The time of this pass, once it has been asked for.
    now: Option<Millis>,
}

impl UserNet {
    /// A link as `config` says. Its spare connections are opened as soon as the guest's driver runs.
    ///
    /// # Errors
    /// The configuration cannot be used, or the system is out of descriptors (four are used).
    pub fn new(config: UserNetConfig) -> Result<Self, UserNetError> {
        config.check()?;
        let create = |what| move |source| UserNetError::Create { what, source };
        let event = || EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).map_err(create("eventfd"));
        let shared = Arc::new(Shared::new(event()?, event()?, config.max_connections));
        let timer = TimerFd::new().map_err(|errno| create("timerfd")(errno.into()))?;
        let epoll = Epoll::new().map_err(create("epoll"))?;
        for (fd, data) in [(shared.event.as_raw_fd(), INBOX), (timer.as_raw_fd(), TIMER)] {
            let event = EpollEvent::new(EventSet::IN, data);
            epoll
                .ctl(ControlOperation::Add, fd, event)
                .map_err(create("epoll registration"))?;
        }
        let mut net = UserNet {
            link: Link::new(&config.net, config.egress, Arc::clone(&shared.counters)),
            spares: SparePool::new(&config.spares, Millis(0)),
            waiting: VecDeque::new(),
            handshakes: 0,
            shared,
            epoll,
            events: vec![EpollEvent::default(); EVENTS].into_boxed_slice(),
            unregistered: Vec::new(),
            timer,
            armed: None,
            start: Instant::now(),
            now: None,
            config,
        };
        net.open_spares();
        net.settle();
        Ok(net)
    }

    /// A handle for other threads.
    #[must_use]
    pub fn handle(&self) -> UserNetHandle {
        UserNetHandle::new(Arc::clone(&self.shared))
    }

    /// Whether nothing is under way: no unacknowledged or buffered byte, no handshake, no request, no answer that the
    /// guest has not taken. What sockets have received since the last pass is not known.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.link.is_quiet() && self.waiting.is_empty() && self.shared.inbox().requests.is_empty()
    }

    /// No timer will wake it.
    #[cfg(test)]
    pub(super) fn is_disarmed(&self) -> bool {
        self.armed.is_none()
    }

    pub(super) fn now(&mut self) -> Millis {
        let start = self.start;
        *self
            .now
            .get_or_insert_with(|| Millis(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)))
    }

    /// Takes the requests of handles.
    fn receive_requests(&mut self) {
        // Empty if a pass in between has taken the requests already.
        let _ = self.shared.event.read();
        let requests = std::mem::take(&mut self.shared.inbox().requests);
        for request in requests {
            self.serve(request);
        }
        if self.shared.refill.swap(false, Ordering::Acquire) {
            let now = self.now();
            self.spares.try_now(now);
        }
    }

    /// Connects a stream now, or later.
    pub(super) fn serve(&mut self, request: Request) {
        let now = self.now();
        let spare = self.spares.take(now, request.port);
        if let Some((id, connection)) = spare.and_then(|id| Some((id, self.link.connection(id)?))) {
            connection.host.host = Host::Stream(HostStream::new(request.stream));
            self.shared.counters.spares_used.increment();
            self.announce_spares();
            self.review(id);
        } else if self.handshakes < self.config.max_handshakes {
            self.open(request.port, Host::Stream(HostStream::new(request.stream)));
        } else {
            self.waiting.push_back(request);
        }
    }

    fn open(&mut self, port: u16, host: Host) {
        self.handshakes += 1;
        self.link.open(
            port,
            HostSide {
                host,
                connecting: true,
            },
        );
    }

    /// Opens the spare connections that are due, unless something more urgent is under way.
    fn open_spares(&mut self) {
        let now = self.now();
        let due = self.spares.deadline().is_some_and(|deadline| deadline <= now);
        if !due || !self.link.is_quiet() || !self.waiting.is_empty() {
            return;
        }
        while self.handshakes < self.config.max_handshakes {
            let Some(port) = self.spares.next_to_open(now) else {
                break;
            };
            self.open(port, Host::Spare);
        }
    }

    /// Takes payload that the guest sent on a connection.
    fn deliver(&mut self, id: u16, payload: &[u8]) {
        let Some(connection) = self.link.connection(id) else {
            return;
        };
        let pushed = match &connection.host.host {
            Host::Stream(stream) if connection.tcp.to_host().is_empty() => stream.push(payload).ok(),
            Host::Stream(_) | Host::Spare => Some(0),
            Host::Gone => None,
        };
        match pushed {
            Some(pushed) => connection.tcp.hold(payload.get(pushed..).unwrap_or_default()),
            None => {
                connection.host.host = Host::Gone;
                connection.tcp.abort();
            }
        }
    }

    /// Something happened to a connection: draws the conclusions for both of its ends.
    fn review(&mut self, id: u16) {
        let now = self.now();
        let Some(connection) = self.link.connection(id) else {
            return;
        };
        let (phase, port) = (connection.tcp.state().phase, connection.tcp.state().guest_port);
        if phase == Phase::SynSent {
            return;
        }
        let spare = matches!(connection.host.host, Host::Spare);
        let connected = std::mem::take(&mut connection.host.connecting);
        if connected {
            self.handshakes = self.handshakes.saturating_sub(1);
            let refused = matches!(phase, Phase::Closed(_));
            if refused && spare {
                self.spares.refused(now, port);
                self.shared.counters.spares_lost.increment();
            } else if !refused {
                self.shared.counters.connections_opened.increment();
            }
            if spare && !refused {
                self.spares.opened(port, id);
                self.announce_spares();
            }
        }
        match phase {
            Phase::Closed(_) => self.close(id),
            _ if spare => self.review_spare(id),
            _ => self.exchange(id),
        }
        while connected && self.handshakes < self.config.max_handshakes {
            let Some(request) = self.waiting.pop_front() else {
                break;
            };
            self.serve(request);
        }
    }

    /// A spare that the guest has ended is of no use. Its bytes, if it has any, are for whoever will use it.
    fn review_spare(&mut self, id: u16) {
        let now = self.now();
        let Some(connection) = self.link.connection(id) else {
            return;
        };
        if connection.tcp.state().receiving == Receiving::Done {
            let port = connection.tcp.state().guest_port;
            connection.host.host = Host::Gone;
            connection.tcp.abort();
            self.shared.adopt();
            self.lose_spare(now, port, id);
        }
    }

    /// Moves bytes between the two ends of a connection.
    fn exchange(&mut self, id: u16) {
        let now = self.now();
        let Some(connection) = self.link.connection(id) else {
            return;
        };
        if let Host::Stream(stream) = &mut connection.host.host {
            if stream.exchange(&mut connection.tcp).is_err() {
                // The host is gone and has left bytes of the guest unread.
                connection.host.host = Host::Gone;
                connection.tcp.abort();
            } else {
                if stream.hung_up && connection.tcp.state().sending == Sending::Done {
                    connection.tcp.linger(now.plus(LINGER_MS));
                }
                if stream.wanted(&connection.tcp) != stream.interest {
                    self.unregistered.push(id);
                }
            }
        }
        self.link.touch(id);
    }

    /// Forgets a connection that is over.
    fn close(&mut self, id: u16) {
        let now = self.now();
        let Some(connection) = self.link.remove(id) else {
            return;
        };
        let counters = &self.shared.counters;
        match connection.tcp.state().phase {
            Phase::Closed(Ending::Refused) => counters.connections_refused.increment(),
            Phase::Closed(Ending::Reset) => counters.connections_reset.increment(),
            Phase::Closed(Ending::TimedOut) => counters.connections_timed_out.increment(),
            _ => {}
        }
        match connection.host.host {
            Host::Spare => self.lose_spare(now, connection.tcp.state().guest_port, id),
            // Dropping the stream closes it, which also ends its registration.
            Host::Stream(_) | Host::Gone => self.shared.release(),
        }
    }

    fn lose_spare(&mut self, now: Millis, port: u16, id: u16) {
        if self.spares.lost(now, port, id) {
            self.shared.counters.spares_lost.increment();
            self.announce_spares();
        }
    }

    pub(super) fn announce_spares(&self) {
        let ready = self.spares.is_full();
        if !self.shared.spares_ready.swap(ready, Ordering::AcqRel) && ready {
            // It can only fail when the counter is full, and then it is signalled.
            let _ = self.shared.spares_event.write(1);
        }
    }

    /// Brings the watching of streams up to date.
    pub(super) fn register(&mut self) {
        for id in self.unregistered.drain(..) {
            let Some(connection) = self.link.connection(id) else {
                continue;
            };
            let Host::Stream(stream) = &mut connection.host.host else {
                continue;
            };
            let wanted = stream.wanted(&connection.tcp);
            let event = EpollEvent::new(wanted.unwrap_or(EventSet::empty()), id.into());
            let operation = match (stream.interest, wanted) {
                (None, Some(_)) => ControlOperation::Add,
                (Some(before), Some(now)) if before != now => ControlOperation::Modify,
                (Some(_), None) => ControlOperation::Delete,
                _ => continue,
            };
            match self.epoll.ctl(operation, stream.as_raw_fd(), event) {
                Ok(()) => stream.interest = wanted,
                Err(error) => {
                    // The system is out of memory or watches. A stream that nobody watches would hang for ever.
                    tracing::debug!(%error, "watch a connection's stream");
                    connection.host.host = Host::Gone;
                    connection.tcp.abort();
                    self.link.touch(id);
                }
            }
        }
    }

    /// Has the stream of a connection watched as it needs to be.
    pub(super) fn watch(&mut self, id: u16) {
        self.unregistered.push(id);
    }

    /// Ends the watching of a stream that goes on elsewhere.
    pub(super) fn unwatch(&self, stream: &HostStream) {
        if stream.interest.is_some() {
            // It is registered, so that this cannot fail.
            let _ = self.epoll.ctl(
                ControlOperation::Delete,
                stream.as_raw_fd(),
                EpollEvent::default(),
            );
        }
    }

    /// Sets the timer if it would go off too late. One that would go off too early is left alone: an expiry in vain
    /// costs less than a system call for every segment.
    fn arm(&mut self) {
        let now = self.now();
        let idle = self.link.is_quiet() && self.handshakes < self.config.max_handshakes;
        let refill = self
            .spares
            .deadline()
            .filter(|_| idle)
            .map(|due| due.max(now.plus(REFILL_DELAY_MS)));
        let Some(deadline) = earliest(self.link.deadline(), refill) else {
            return;
        };
        if self.armed.is_none_or(|armed| deadline < armed) {
            let delay = Duration::from_millis(deadline.since(now).max(1));
            if self.timer.reset(delay, None).is_ok() {
                self.armed = Some(deadline);
            }
        }
    }

    /// Stops the timer, whether it has gone off or not.
    pub(super) fn disarm(&mut self) {
        // It cannot fail: the descriptor is a timer, and the value is zero.
        let _ = self.timer.clear();
        self.armed = None;
    }

    fn timer_expired(&mut self) {
        self.disarm();
        let now = self.now();
        for id in self.link.expire(now) {
            self.review(id);
        }
    }

    fn stream_ready(&mut self, id: u16, events: EventSet) {
        let Some(connection) = self.link.connection(id) else {
            return;
        };
        if let Host::Stream(stream) = &mut connection.host.host {
            stream.hung_up |= events.intersects(EventSet::HANG_UP | EventSet::ERROR);
            stream.readable |= stream.hung_up || events.contains(EventSet::IN);
        }
        self.review(id);
    }
}

impl NetBackend for UserNet {
    fn wake_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    fn wake(&mut self) {
        // An interrupted call is made again by the event loop, for which we stay ready.
        let count = self.epoll.wait(0, &mut self.events).unwrap_or(0);
        for index in 0..count {
            let Some(event) = self.events.get(index).copied() else {
                break;
            };
            match event.data() {
                INBOX => self.receive_requests(),
                TIMER => self.timer_expired(),
                id => {
                    if let Ok(id) = u16::try_from(id) {
                        self.stream_ready(id, event.event_set());
                    }
                }
            }
        }
        self.open_spares();
    }

    fn give(&mut self, frame: &[u8]) {
        let now = self.now();
        if let Some((id, payload)) = self.link.input(now, frame) {
            if !payload.is_empty() {
                self.deliver(id, payload);
            }
            self.review(id);
        }
    }

    fn has_frames(&self) -> bool {
        self.link.has_frames()
    }

    fn take(&mut self) -> Option<Frame<'_>> {
        let now = self.now();
        self.link.take(now)
    }

    fn settle(&mut self) {
        while let Some(id) = self.link.next_over() {
            self.close(id);
        }
        self.register();
        self.arm();
        {
            let inbox = self.shared.inbox();
            let quiet = self.link.is_quiet() && self.waiting.is_empty() && inbox.requests.is_empty();
            self.shared.quiet.store(quiet, Ordering::Relaxed);
        }
        self.now = None;
    }
}
