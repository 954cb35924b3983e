//! One connection between a link and smoltcp.

use std::collections::VecDeque;
use std::sync::Arc;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;

use crate::virtio::net::backend::Frame;
use crate::virtio::net::config::NetConfig;
use crate::virtio::net::usernet::config::EgressPolicy;
use crate::virtio::net::usernet::guest::Guest;
use crate::virtio::net::usernet::link::Link;
use crate::virtio::net::usernet::tcp::{Endpoint, Phase};
use crate::virtio::net::usernet::time::Millis;

pub(super) const PORT: u16 = 80;
/// Directions.
pub(super) const TO_GUEST: usize = 0;
pub(super) const TO_HOST: usize = 1;

pub(super) fn link() -> Link<()> {
    Link::new(&NetConfig::default(), EgressPolicy::Deny, Arc::default())
}

pub(super) fn bytes(frame: Frame<'_>) -> Vec<u8> {
    [frame.header, frame.body[0], frame.body[1]].concat()
}

/// One connection between a link and smoltcp, and what both ends have sent and seen.
pub(super) struct Rig {
    pub(super) link: Link<()>,
    pub(super) guest: Guest,
    pub(super) socket: SocketHandle,
    pub(super) id: u16,
    pub(super) now: Millis,
    /// Frames in each direction that will be lost.
    pub(super) lose: [usize; 2],
    pub(super) to_guest: Stream,
    pub(super) to_host: Stream,
    /// Bytes the host's stream takes before it blocks.
    pub(super) appetite: usize,
}

/// A byte stream with contents that tell every byte from its neighbours.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) sent: usize,
    pub(super) seen: usize,
    pub(super) closed: bool,
}

pub(super) fn pattern(range: std::ops::Range<usize>) -> Vec<u8> {
    range
        .map(|i| u8::try_from((i ^ (i >> 8).wrapping_mul(31)) & 0xff).unwrap())
        .collect()
}

impl Rig {
    pub(super) fn new(receive_bytes: usize, send_bytes: usize, ack_delay: bool) -> Self {
        let mut guest = Guest::new();
        let socket = guest.listen(PORT, receive_bytes, send_bytes);
        if !ack_delay {
            guest.socket(socket).set_ack_delay(None);
        }
        let mut link = link();
        let id = link.open(PORT, ());
        let (to_guest, to_host) = (Stream::default(), Stream::default());
        Rig {
            link,
            guest,
            socket,
            id,
            now: Millis(1),
            lose: [0; 2],
            to_guest,
            to_host,
            appetite: usize::MAX,
        }
    }

    pub(super) fn lost(&mut self, direction: usize) -> bool {
        let lost = self.lose[direction] > 0;
        self.lose[direction] -= usize::from(lost);
        lost
    }

    /// Lets frames go back and forth until both sides are silent.
    pub(super) fn exchange(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "the ends never fall silent");
            let mut frames = VecDeque::new();
            while let Some(frame) = self.link.take(self.now) {
                frames.push_back(bytes(frame));
            }
            for frame in frames {
                if !self.lost(TO_GUEST) {
                    self.guest.wire.received.push_back(frame);
                }
            }
            self.guest.poll(self.now);
            if self.guest.wire.sent.is_empty() && !self.link.has_frames() {
                return;
            }
            while let Some(frame) = self.guest.wire.sent.pop_front() {
                if self.lost(TO_HOST) {
                    continue;
                }
                if let Some((id, payload)) = self.link.input(self.now, &frame) {
                    assert_eq!(id, self.id);
                    self.host_receives(payload);
                }
            }
        }
    }

    pub(super) fn host_receives(&mut self, payload: &[u8]) {
        let tcp = &mut self.link.connection(self.id).unwrap().tcp;
        let taken = if tcp.to_host().is_empty() {
            payload.len().min(self.appetite)
        } else {
            0
        };
        self.appetite -= taken;
        tcp.hold(&payload[taken..]);
        let expected = pattern(self.to_host.seen..self.to_host.seen + taken);
        assert_eq!(payload[..taken], expected);
        self.to_host.seen += taken;
    }

    pub(super) fn host_reads(&mut self, appetite: usize) {
        self.appetite = appetite;
        let Some(connection) = self.link.connection(self.id) else {
            return;
        };
        while self.appetite > 0 && !connection.tcp.to_host().is_empty() {
            let front = connection.tcp.to_host().front();
            let taken = front.len().min(self.appetite);
            assert_eq!(
                front[..taken],
                pattern(self.to_host.seen..self.to_host.seen + taken)
            );
            connection.tcp.taken(taken);
            self.to_host.seen += taken;
            self.appetite -= taken;
        }
        self.link.touch(self.id);
    }

    pub(super) fn host_writes(&mut self, count: usize) {
        let Some(connection) = self.link.connection(self.id) else {
            return;
        };
        if !self.to_guest.closed {
            let start = self.to_guest.sent;
            self.to_guest.sent += connection
                .tcp
                .to_guest_mut()
                .extend(&pattern(start..start + count));
            self.link.touch(self.id);
        }
    }

    pub(super) fn host_closes(&mut self) {
        if let Some(connection) = self.link.connection(self.id) {
            connection.tcp.finish();
            self.to_guest.closed = true;
            self.link.touch(self.id);
        }
    }

    pub(super) fn guest_reads(&mut self, count: usize) {
        let mut buffer = vec![0; count];
        let read = self
            .guest
            .socket(self.socket)
            .recv_slice(&mut buffer)
            .unwrap_or(0);
        assert_eq!(
            buffer[..read],
            pattern(self.to_guest.seen..self.to_guest.seen + read)
        );
        self.to_guest.seen += read;
    }

    pub(super) fn guest_writes(&mut self, count: usize) {
        let start = self.to_host.sent;
        let socket = self.guest.socket(self.socket);
        self.to_host.sent += socket.send_slice(&pattern(start..start + count)).unwrap_or(0);
    }

    pub(super) fn guest_closes(&mut self) {
        let socket = self.guest.socket(self.socket);
        if matches!(socket.state(), State::Established | State::CloseWait) {
            socket.close();
            self.to_host.closed = true;
        }
    }

    pub(super) fn advance(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        self.link.expire(self.now);
    }

    /// Saves the link and goes on with what was saved.
    pub(super) fn reload(&mut self) {
        if self.link.connections().any(|connection| connection.tcp.is_over()) {
            return;
        }
        let position = self.link.position();
        let saved: Vec<_> = self
            .link
            .connections()
            .map(|connection| {
                let tcp = &connection.tcp;
                (
                    tcp.state().clone(),
                    tcp.to_guest().to_vec(),
                    tcp.to_host().to_vec(),
                )
            })
            .collect();
        self.link = link();
        self.link.set_position(position);
        for (state, to_guest, to_host) in saved {
            let state = postcard::from_bytes(&postcard::to_stdvec(&state).unwrap()).unwrap();
            let tcp = Endpoint::restore(self.now, state, &to_guest, &to_host, self.link.max_mss()).unwrap();
            self.link.insert(tcp, ());
        }
    }

    /// Both ends take all there is, until everything has arrived.
    pub(super) fn finish(&mut self) {
        self.lose = [0; 2];
        for _ in 0..5_000 {
            self.host_reads(usize::MAX);
            self.guest_reads(1 << 17);
            self.exchange();
            let done = |stream: &Stream| stream.sent == stream.seen;
            if done(&self.to_guest) && done(&self.to_host) {
                return;
            }
            self.advance(20);
        }
        panic!(
            "stuck: {} of {} to the guest, {} of {} to the host, guest {:?}, {:?}",
            self.to_guest.seen,
            self.to_guest.sent,
            self.to_host.seen,
            self.to_host.sent,
            self.guest.socket(self.socket).state(),
            self.link
                .connection(self.id)
                .map(|connection| connection.tcp.state().clone()),
        );
    }

    /// One end alone takes all that the other has sent.
    pub(super) fn finish_one(&mut self, direction: usize) {
        self.lose = [0; 2];
        for _ in 0..5_000 {
            let stream = if direction == TO_GUEST {
                self.guest_reads(1 << 17);
                &self.to_guest
            } else {
                self.host_reads(usize::MAX);
                &self.to_host
            };
            if stream.sent == stream.seen {
                self.appetite = 0;
                return;
            }
            self.exchange();
            self.advance(20);
        }
        panic!("one direction waits for the other");
    }

    pub(super) fn tcp(&mut self) -> &Endpoint {
        &self.link.connection(self.id).unwrap().tcp
    }

    pub(super) fn phase(&mut self) -> Option<Phase> {
        Some(self.link.connection(self.id)?.tcp.state().phase)
    }
}
