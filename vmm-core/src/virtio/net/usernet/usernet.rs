//! The link on the event loop: sockets, the timer and the requests of handles around the pure [`Link`].

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};
use vmm_sys_util::timerfd::TimerFd;

use super::config::{UserNetConfig, UserNetError};
use super::handle::{Request, Shared, UserNetHandle};
use super::host_stream::HostStream;
use super::link::Link;
use super::spares::SparePool;
use super::tcp::GIVE_UP_MS;
use super::time::Millis;
use crate::virtio::net::backend::{Frame, NetBackend};

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

/// A request that waits for a handshake to end.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) request: Request,
    /// Its turn has to come by then.
    pub(super) deadline: Millis,
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
pub(crate) struct UserNet {
    pub(super) config: UserNetConfig,
    pub(super) link: Link<HostSide>,
    pub(super) spares: SparePool,
    /// Oldest first.
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) handshakes: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) epoll: Epoll,
    events: Box<[EpollEvent]>,
    /// Connections whose stream is to be registered anew.
    pub(super) unregistered: Vec<u16>,
    pub(super) timer: TimerFd,
    pub(super) armed: Option<Millis>,
    start: Instant,
    /// The time of this pass, once it has been asked for.
    now: Option<Millis>,
}

impl UserNet {
    /// A link as `config` says. Its spare connections are opened as soon as the guest's driver runs.
    ///
    /// # Errors
    /// The configuration cannot be used, or the system is out of descriptors (four are used).
    pub(crate) fn new(config: UserNetConfig) -> Result<Self, UserNetError> {
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
        // A link that is to have none has all of them.
        net.announce_spares();
        net.settle();
        Ok(net)
    }

    /// A handle for other threads.
    #[must_use]
    pub(crate) fn handle(&self) -> UserNetHandle {
        UserNetHandle::new(Arc::clone(&self.shared))
    }

    /// Whether nothing is under way: no unacknowledged or buffered byte, no handshake, no request, no answer that the
    /// guest has not taken. What sockets have received since the last pass is not known.
    #[must_use]
    pub(crate) fn is_quiet(&self) -> bool {
        self.link.is_quiet() && self.waiting.is_empty() && self.shared.inbox().requests.is_empty()
    }

    /// No timer will wake it.
    #[cfg(test)]
    pub(super) fn is_disarmed(&self) -> bool {
        self.armed.is_none()
    }

    /// When the timer is to go off.
    #[cfg(test)]
    pub(super) fn due(&self) -> Option<Millis> {
        self.armed
    }

    /// Sets the time of the next pass.
    #[cfg(test)]
    pub(super) fn set_now(&mut self, now: Millis) {
        self.now = Some(now);
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
            let deadline = now.plus(GIVE_UP_MS);
            self.waiting.push_back(Waiting { request, deadline });
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

    pub(super) fn timer_expired(&mut self) {
        self.disarm();
        let now = self.now();
        self.expire_waiting(now);
        for id in self.link.expire(now) {
            self.review(id);
        }
    }

    /// Gives up requests whose turn has not come in time.
    fn expire_waiting(&mut self, now: Millis) {
        while self.waiting.pop_front_if(|first| first.deadline <= now).is_some() {
            self.shared.counters.connections_timed_out.increment();
            self.shared.release();
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
        // A spare connection keeps nobody waiting, and the guest of a VM made ahead takes nothing for a long time.
        let now = self.now();
        self.link.stall(now, |side| !matches!(side.host, Host::Spare));
        self.arm();
        self.shared
            .pass_ended(self.link.is_quiet() && self.waiting.is_empty());
        self.now = None;
    }
}

impl Drop for UserNet {
    /// Requests find out that nobody serves them, and streams have what the guest has sent.
    fn drop(&mut self) {
        self.end();
    }
}
