//! The link as a pure machine: frames and `now` go in, frames come out. No descriptor, no clock.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::config::{EgressPolicy, GUEST, HOST, HOST_MAC};
use super::counters::Counters;
use super::tcp::{Endpoint, Outgoing, Seq, Verdict};
use super::time::{Millis, earliest};
use super::wire::tcp::{Flags, Segment};
use super::wire::{Malformed, arp, ethernet, icmp, ipv4, tcp};
use crate::virtio::net::backend::Frame;
use crate::virtio::net::config::{MacAddress, NetConfig};

/// Ports of connections are given out in a circle from here up.
pub(crate) const FIRST_PORT: u16 = 10_240;
/// Distance of the initial sequence numbers of two connections, so that a later one on the same port starts ahead.
const ISS_STEP: u32 = 64_021;
/// The most answers (ARP, echo, reset) that wait for the guest to take them.
pub(crate) const MAX_REPLIES: usize = 16;

/// A connection and what its host side is, in the words of the link's user.
#[derive(Debug)]
pub(crate) struct Connection<H> {
    pub(crate) tcp: Endpoint,
    pub(crate) host: H,
    /// It is in the queue of those that may have something to send.
    queued: bool,
    /// It is counted as busy.
    busy: bool,
}

/// The link.
#[derive(Debug)]
pub(crate) struct Link<H> {
    guest_mac: MacAddress,
    egress: EgressPolicy,
    max_mss: u16,
    /// By our port.
    connections: BTreeMap<u16, Connection<H>>,
    queue: VecDeque<u16>,
    busy: usize,
    /// Connections that ended while they were polled.
    over: Vec<u16>,
    replies: VecDeque<Vec<u8>>,
    /// The headers, or the whole answer, of the frame that was taken last.
    header: Vec<u8>,
    /// Not later than the first deadline of any connection.
    deadline: Option<Millis>,
    next_port: u16,
    next_iss: Seq,
    /// The guest has been told our address.
    introduced: bool,
    counters: Arc<Counters>,
}

impl<H> Link<H> {
    pub(crate) fn new(net: &NetConfig, egress: EgressPolicy, counters: Arc<Counters>) -> Self {
        Link {
            guest_mac: net.mac,
            egress,
            max_mss: net.mtu - ipv4::HEADER - tcp::HEADER,
            connections: BTreeMap::new(),
            queue: VecDeque::new(),
            busy: 0,
            over: Vec::new(),
            replies: VecDeque::new(),
            header: Vec::new(),
            deadline: None,
            next_port: FIRST_PORT,
            next_iss: Seq(ISS_STEP),
            introduced: false,
            counters,
        }
    }

    pub(crate) fn max_mss(&self) -> u16 {
        self.max_mss
    }

    /// Opens a connection to `guest_port` and answers our port, by which it is known while it lives. The caller sees to
    /// it that there are fewer than [`FIRST_PORT`]'s worth of them.
    pub(crate) fn open(&mut self, guest_port: u16, host: H) -> u16 {
        let mut port = self.next_port;
        while self.connections.contains_key(&port) {
            port = next_port(port);
        }
        self.next_port = next_port(port);
        let tcp = Endpoint::connect(port, guest_port, self.next_iss, self.max_mss);
        self.next_iss = self.next_iss.plus_u32(ISS_STEP);
        self.introduce();
        self.insert(tcp, host);
        port
    }

    /// Tells the guest our address ahead of the first handshake: one that has to ask for it first may drop its answer, and
    /// then the handshake is only repeated after the retransmission time.
    fn introduce(&mut self) {
        if std::mem::replace(&mut self.introduced, true) {
            return;
        }
        let request = arp::Request {
            sender_mac: HOST_MAC,
            sender: HOST,
            target: GUEST,
        };
        self.reply(ethernet::ARP, |out| arp::write_request(out, &request));
    }

    /// Adds a connection whose port is free, such as a restored one.
    pub(crate) fn insert(&mut self, tcp: Endpoint, host: H) {
        let port = tcp.state().host_port;
        self.connections.insert(
            port,
            Connection {
                tcp,
                host,
                queued: false,
                busy: false,
            },
        );
        self.touch(port);
    }

    pub(crate) fn connection(&mut self, port: u16) -> Option<&mut Connection<H>> {
        self.connections.get_mut(&port)
    }

    pub(crate) fn connections(&self) -> impl Iterator<Item = &Connection<H>> {
        self.connections.values()
    }

    pub(crate) fn into_connections(self) -> impl Iterator<Item = Connection<H>> {
        self.connections.into_values()
    }

    /// Forgets a connection.
    pub(crate) fn remove(&mut self, port: u16) -> Option<Connection<H>> {
        let connection = self.connections.remove(&port)?;
        self.busy -= usize::from(connection.busy);
        Some(connection)
    }

    /// Something about the connection changed from outside: it may have something to send.
    pub(crate) fn touch(&mut self, port: u16) {
        if let Some(connection) = self.connections.get_mut(&port) {
            if !std::mem::replace(&mut connection.queued, true) {
                self.queue.push_back(port);
            }
            self.busy += usize::from(!std::mem::replace(&mut connection.busy, true));
        }
    }

    /// Whether there may be something to take. `false` is certain.
    pub(crate) fn has_frames(&self) -> bool {
        !self.queue.is_empty() || !self.replies.is_empty()
    }

    /// Nothing is under way on any connection, and no answer waits.
    pub(crate) fn is_quiet(&self) -> bool {
        self.busy == 0 && self.replies.is_empty()
    }

    /// The connections that ended while frames were taken, once.
    pub(crate) fn next_over(&mut self) -> Option<u16> {
        self.over.pop()
    }

    /// The next frame for the guest. It counts as sent.
    pub(crate) fn take(&mut self, now: Millis) -> Option<Frame<'_>> {
        if let Some(reply) = self.replies.pop_front() {
            self.header = reply;
            self.counters.frames_to_guest.increment();
            return Some(Frame {
                header: &self.header,
                body: [&[], &[]],
            });
        }
        let (port, Outgoing { segment, payload }) = self.poll(now)?;
        let body = match self.connections.get(&port) {
            Some(connection) => connection.tcp.to_guest().slices(payload),
            None => [&[][..], &[][..]],
        };
        ethernet::write(&mut self.header, HOST_MAC, self.guest_mac, ethernet::IPV4);
        tcp::write(&mut self.header, HOST, GUEST, &segment, body);
        self.counters.frames_to_guest.increment();
        Some(Frame {
            header: &self.header,
            body,
        })
    }

    /// The next segment of the connections in the queue, one from each in turn.
    fn poll(&mut self, now: Millis) -> Option<(u16, Outgoing)> {
        loop {
            let port = self.queue.pop_front()?;
            let Some(connection) = self.connections.get_mut(&port) else {
                continue;
            };
            let outgoing = connection.tcp.poll(now, self.max_mss);
            self.deadline = earliest(self.deadline, connection.tcp.deadline());
            if let Some(outgoing) = outgoing {
                self.queue.push_back(port);
                return Some((port, outgoing));
            }
            connection.queued = false;
            if connection.tcp.is_over() {
                self.over.push(port);
            } else if connection.tcp.is_quiet() {
                connection.busy = false;
                self.busy -= 1;
            }
        }
    }

    /// Takes a frame of the guest. Answers the connection it belongs to and its payload as far as it is accepted.
    pub(crate) fn input<'f>(&mut self, now: Millis, frame: &'f [u8]) -> Option<(u16, &'f [u8])> {
        self.counters.frames_from_guest.increment();
        match self.dispatch(now, frame) {
            Ok(touched) => touched,
            Err(Malformed::Shape) => {
                self.counters.malformed_frames.increment();
                None
            }
            Err(Malformed::Checksum) => {
                self.counters.checksum_errors.increment();
                None
            }
        }
    }

    fn dispatch<'f>(&mut self, now: Millis, frame: &'f [u8]) -> Result<Option<(u16, &'f [u8])>, Malformed> {
        let (ethertype, payload) = ethernet::parse(frame)?;
        match ethertype {
            ethernet::ARP => {
                if let Some(request) = arp::parse(payload)? {
                    self.answer_arp(&request);
                }
                Ok(None)
            }
            ethernet::IPV4 => {
                let packet = ipv4::parse(payload)?;
                match packet.protocol {
                    _ if packet.source != GUEST
                        || packet.target.is_multicast()
                        || packet.target.is_broadcast() =>
                    {
                        self.counters.ignored_frames.increment();
                    }
                    ipv4::TCP => return self.input_tcp(now, &packet),
                    ipv4::ICMP if packet.target == HOST => self.input_icmp(&packet)?,
                    _ => self.deny(),
                }
                Ok(None)
            }
            _ => {
                self.counters.ignored_frames.increment();
                Ok(None)
            }
        }
    }

    fn input_tcp<'f>(
        &mut self,
        now: Millis,
        packet: &ipv4::Packet<'f>,
    ) -> Result<Option<(u16, &'f [u8])>, Malformed> {
        let (segment, payload) = tcp::parse(packet)?;
        let port = segment.target_port;
        let connection = self.connections.get_mut(&port).filter(|connection| {
            packet.target == HOST && connection.tcp.state().guest_port == segment.source_port
        });
        let Some(connection) = connection else {
            if segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK) {
                self.deny();
            }
            self.answer_reset(packet.target, &segment, payload.len());
            return Ok(None);
        };
        match connection.tcp.input(now, &segment, payload.len(), self.max_mss) {
            Verdict::Accepted(range) => {
                self.touch(port);
                Ok(Some((port, payload.get(range).unwrap_or_default())))
            }
            Verdict::Stranger => {
                self.answer_reset(packet.target, &segment, payload.len());
                Ok(None)
            }
        }
    }

    fn input_icmp(&mut self, packet: &ipv4::Packet<'_>) -> Result<(), Malformed> {
        let Some(echo) = icmp::parse_echo(packet.payload)? else {
            self.counters.ignored_frames.increment();
            return Ok(());
        };
        let length = u16::try_from(packet.payload.len()).map_err(|_| Malformed::Shape)?;
        self.reply(ethernet::IPV4, |out| {
            ipv4::write(out, HOST, GUEST, ipv4::ICMP, length);
            icmp::write_reply(out, echo);
        });
        Ok(())
    }

    /// Every address of the guest's network but its own is ours.
    fn answer_arp(&mut self, request: &arp::Request) {
        let network = |address: Ipv4Addr| address.octets()[..3] == HOST.octets()[..3];
        if network(request.target) && request.target != GUEST {
            self.reply(ethernet::ARP, |out| arp::write_reply(out, request, HOST_MAC));
        }
    }

    fn answer_reset(&mut self, address: Ipv4Addr, segment: &Segment, payload_bytes: usize) {
        if let Some(reset) = tcp::reset_for(segment, payload_bytes) {
            self.reply(ethernet::IPV4, |out| {
                tcp::write(out, address, GUEST, &reset, [&[], &[]]);
            });
        }
    }

    fn deny(&self) {
        match self.egress {
            EgressPolicy::Deny => self.counters.egress_denied.increment(),
        }
    }

    fn reply(&mut self, ethertype: u16, write: impl FnOnce(&mut Vec<u8>)) {
        if self.replies.len() >= MAX_REPLIES {
            self.counters.dropped_replies.increment();
            return;
        }
        let mut reply = Vec::new();
        ethernet::write(&mut reply, HOST_MAC, self.guest_mac, ethertype);
        write(&mut reply);
        self.replies.push_back(reply);
    }

    /// The guest takes nothing more for now. What is still to be sent does not wait for ever: its timers run, but for
    /// those that are not `bounded`.
    pub(crate) fn stall(&mut self, now: Millis, bounded: impl Fn(&H) -> bool) {
        for port in &self.queue {
            let Some(connection) = self.connections.get_mut(port) else {
                continue;
            };
            if bounded(&connection.host) {
                connection.tcp.stalled(now);
            }
            self.deadline = earliest(self.deadline, connection.tcp.deadline());
        }
    }

    /// Lets timers that have come due act. Answers the connections it happened to.
    pub(crate) fn expire(&mut self, now: Millis) -> Vec<u16> {
        let mut expired = Vec::new();
        self.deadline = None;
        for (port, connection) in &mut self.connections {
            if connection.tcp.deadline().is_some_and(|deadline| deadline <= now) {
                connection.tcp.expire(now);
                expired.push(*port);
            }
            self.deadline = earliest(self.deadline, connection.tcp.deadline());
        }
        for port in &expired {
            self.touch(*port);
        }
        expired
    }

    /// When [`expire`](Self::expire) is to be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        self.deadline
    }

    /// What a saved link keeps besides its connections.
    pub(crate) fn position(&self) -> Position {
        Position {
            next_port: self.next_port,
            next_iss: self.next_iss,
            replies: self.replies.iter().cloned().collect(),
        }
    }

    /// Goes on where a saved link was.
    pub(crate) fn set_position(&mut self, position: Position) {
        self.next_port = position.next_port.max(FIRST_PORT);
        self.next_iss = position.next_iss;
        self.replies = position.replies.into();
    }
}

/// See [`Link::position`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Position {
    pub(crate) next_port: u16,
    pub(crate) next_iss: Seq,
    pub(crate) replies: Vec<Vec<u8>>,
}

fn next_port(port: u16) -> u16 {
    port.checked_add(1).unwrap_or(FIRST_PORT)
}

#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
#[cfg(any(test, feature = "fuzz"))]
pub use fuzz::{fuzz_link, fuzz_link_state};
#[cfg(test)]
mod tests;
