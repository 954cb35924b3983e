//! The TCP connections and who is next.
//!
//! smoltcp looks at every socket of a set for every frame. Here each connection has a set of its own, and the frame's
//! headers tell which one: a frame costs the same, and touches the same memory, however many connections there are.

mod connection;
mod interface;

use alloc::vec::Vec;

use guest_kernel::{Scratch, Segment, SegmentKind, Slots};
use smoltcp::iface::{Interface, PollIngressSingleResult, PollResult, SocketSet};
use smoltcp::time::Instant;

use crate::app::Application;
use crate::machine::{Apic, stop};
use crate::net::Net;
use connection::Connection;
use interface::Neighbor;

/// The port that is served.
const PORT: u16 = 80;
/// Connections at most, whatever the memory.
const MAX_CONNECTIONS: usize = 512;
/// Memory that a connection may come to need: its buffers, and a request's head that did not fit them.
const CONNECTION_LEN: usize = 48 << 10;

/// Shortest timer, in microseconds: what is due while nothing can be sent must not make the CPU spin.
const MIN_WAIT_US: i64 = 100;

/// The server.
pub(crate) struct Server {
    app: Application,
    apic: Apic,
    interface: Interface,
    /// A restore has happened: the interface's random state is that of all the snapshot's clones.
    stale: bool,
    /// The neighbor that the interface was taught.
    neighbor: Option<Neighbor>,
    slots: Slots,
    connections: Vec<Connection>,
    /// Indices of free connections, the one used last at the end.
    free: Vec<usize>,
    /// Indices of connections with something to do.
    ready: Vec<usize>,
    /// For frames of no connection.
    nobody: SocketSet<'static>,
    scratch: Scratch,
    /// The connection on which `/exit` was asked for.
    last_words: Option<usize>,
    max_connections: usize,
    /// When the timer will fire.
    timer: Option<Instant>,
}

impl Server {
    #[cold]
    pub(crate) fn new(mut app: Application, net: &mut Net, apic: Apic, heap_len: usize) -> Self {
        let max_connections = (heap_len / CONNECTION_LEN).min(MAX_CONNECTIONS);
        let interface = interface::new(app.random(), net, now(&mut app));
        Self {
            app,
            apic,
            interface,
            stale: false,
            neighbor: None,
            slots: Slots::new(),
            connections: Vec::new(),
            free: Vec::new(),
            ready: Vec::new(),
            nobody: SocketSet::new(Vec::new()),
            scratch: Scratch::new(),
            last_words: None,
            max_connections,
            timer: None,
        }
    }

    /// The application.
    pub(crate) fn app_mut(&mut self) -> &mut Application {
        &mut self.app
    }

    /// Has the next new connection start from a random state of its own.
    pub(crate) fn reseed(&mut self) {
        self.stale = true;
    }

    /// Does everything there is to do.
    pub(crate) fn run(&mut self, net: &mut Net) {
        let now = now(&mut self.app);
        while let Some(frame) = net.peek() {
            let segment = Segment::parse(frame, PORT);
            if !self.receive(segment, now, net) {
                break;
            }
        }
        for index in self.slots.due(now) {
            if !self.ready.contains(&index) {
                self.ready.push(index);
            }
        }
        while let Some(index) = self.ready.pop() {
            self.settle(index, now, net);
        }
        net.flush();
        let heard = |index| self.connections.get(index).is_none_or(Connection::has_said_all);
        if self.last_words.is_some_and(heard) {
            stop();
        }
    }

    /// Whether nothing is left to do until an interrupt, for which everything is set up then. `timer_fired`: since the
    /// last call.
    pub(crate) fn may_sleep(&mut self, net: &mut Net, timer_fired: bool) -> bool {
        if timer_fired {
            self.apic.timer_fired();
            self.timer = None;
        }
        let due = self.slots.next_due();
        if due.is_none_or(|due| self.timer.is_none_or(|timer| timer > due)) && due != self.timer {
            let now = now(&mut self.app);
            if due.is_some_and(|due| due <= now) && !net.is_blocked() {
                return false;
            }
            let wait_us = |due: Instant| {
                due.total_micros()
                    .saturating_sub(now.total_micros())
                    .max(MIN_WAIT_US)
            };
            self.apic
                .set_timer(due.map(|due| u64::try_from(wait_us(due)).unwrap_or(0).saturating_mul(1_000)));
            self.timer = due;
        }
        !net.arm()
    }

    /// Gives the next frame to its connection; false if it cannot be taken yet.
    fn receive(&mut self, segment: Option<Segment>, now: Instant, net: &mut Net) -> bool {
        let index = segment.and_then(|segment| {
            self.slots
                .find(segment.peer)
                .or_else(|| self.open(segment, now, net))
        });
        let sockets = match index.and_then(|index| self.connections.get_mut(index)) {
            Some(connection) => connection.sockets(),
            None => &mut self.nobody,
        };
        let result = self.interface.poll_ingress_single(now, net, sockets);
        if let Some(index) = index
            && !self.ready.contains(&index)
        {
            self.ready.push(index);
        }
        result != PollIngressSingleResult::None
    }

    /// Finds a connection for a peer that begins one. None if there is no room: the peer is refused.
    fn open(&mut self, segment: Segment, now: Instant, net: &mut Net) -> Option<usize> {
        if segment.kind != SegmentKind::Open {
            return None;
        }
        let now_ns = self.app.patience_ns();
        if (self.slots.len() - self.free.len()) * 2 > self.max_connections {
            self.thin_out(now_ns);
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None => self.grow().or_else(|| self.evict(now, now_ns, net))?,
        };
        if self.stale {
            self.stale = false;
            self.neighbor = None;
            self.interface = interface::new(self.app.random(), net, now);
        }
        let neighbor = interface::neighbor(net.peek().unwrap_or_default());
        if let Some(neighbor) = neighbor
            && self.neighbor != Some(neighbor)
        {
            self.neighbor = Some(neighbor);
            interface::learn(&mut self.interface, neighbor, net.mac(), now);
        }
        if let Some(connection) = self.connections.get_mut(index) {
            self.slots.open(index, segment.peer, now_ns);
            connection.listen();
        }
        Some(index)
    }

    /// Takes memory for a first connection, before it is needed.
    pub(crate) fn prepare(&mut self) {
        let index = self.grow();
        self.free.extend(index);
    }

    /// Adds room for a connection, if there is memory and it is not forbidden.
    fn grow(&mut self) -> Option<usize> {
        let len = self.slots.len() + 1;
        if len > self.max_connections {
            return None;
        }
        self.connections.try_reserve(1).ok()?;
        self.free.try_reserve(len - self.free.len()).ok()?;
        self.ready.try_reserve(len - self.ready.len()).ok()?;
        let connection = Connection::new()?;
        let index = self.slots.grow()?;
        self.connections.push(connection);
        Some(index)
    }

    /// Has the connection end in good order whose client has been silent longest, if that is long.
    #[cold]
    fn thin_out(&mut self, now_ns: u64) {
        if let Some(index) = self.slots.stale(now_ns, &self.ready)
            && let Some(connection) = self.connections.get_mut(index)
        {
            connection.dismiss();
            self.ready.push(index);
        }
    }

    /// Ends the connection at once that can best be done without; its memory is for another one.
    #[cold]
    fn evict(&mut self, now: Instant, now_ns: u64, net: &mut Net) -> Option<usize> {
        let index = self.slots.dispensable(now_ns, &self.ready)?;
        let connection = self.connections.get_mut(index)?;
        connection.abort();
        // The peer's reset; if there is no room for it now, the peer gets one for what it sends next.
        self.interface.poll_egress(now, net, connection.sockets());
        self.slots.close(index);
        Some(index)
    }

    /// Lets a connection's requests be answered and sends what is to be sent.
    fn settle(&mut self, index: usize, now: Instant, net: &mut Net) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let now_ns = self.app.patience_ns();
        let progress = connection.advance(now_ns, &mut self.scratch, &mut self.app);
        while self.interface.poll_egress(now, net, connection.sockets()) != PollResult::None {}
        if self.app.is_exiting() && self.last_words.is_none() {
            self.last_words = Some(index);
        }
        if connection.is_over() {
            self.slots.close(index);
            self.free.push(index);
        } else {
            let due = self.interface.poll_at(now, connection.sockets());
            self.slots
                .note(index, connection.waiting(), progress, now_ns, due);
        }
    }
}

/// The time that timers count.
fn now(app: &mut Application) -> Instant {
    Instant::from_micros(i64::try_from(app.awake_ns() / 1_000).unwrap_or(i64::MAX))
}
