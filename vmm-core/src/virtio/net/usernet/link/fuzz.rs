//! Frames of the guest, in any order with what the host does, and saved links.

use super::{Link, MAX_REPLIES};
use crate::fuzz::Input;
use crate::virtio::net::config::{ETHERNET_HEADER, NetConfig};
use crate::virtio::net::usernet::attach;
use crate::virtio::net::usernet::config::{EgressPolicy, GUEST, HOST, HOST_MAC, UserNetConfig};
use crate::virtio::net::usernet::state::UserNetState;
use crate::virtio::net::usernet::tcp::{Endpoint, RECEIVE_CAPACITY, Sending, Seq};
use crate::virtio::net::usernet::time::Millis;
use crate::virtio::net::usernet::wire::tcp::{Flags, Segment};
use crate::virtio::net::usernet::wire::{ethernet, ipv4, tcp};

const PORT: u16 = 80;
const MSS: u16 = 1460;
/// More steps would only be slow.
const MAX_STEPS: usize = 256;
/// Frames after which a link that still has some is taken for one that never ends: both buffers of a connection in the
/// smallest segments.
const MAX_FRAMES: usize = 4_096;

struct Fuzzed {
    link: Link<()>,
    port: u16,
    now: Millis,
}

/// Frames, segments that are almost right, time, and the host's reads, writes and hang-ups. After each of them a connection can
/// be saved and restored, and what is kept is bounded.
pub fn fuzz_link(data: &[u8]) {
    let mut input = Input(data);
    let mut link = Link::new(
        &NetConfig::default(),
        EgressPolicy::Deny,
        std::sync::Arc::default(),
    );
    let port = link.open(PORT, ());
    let mut fuzzed = Fuzzed {
        link,
        port,
        now: Millis(1),
    };
    if input.byte() & 1 == 0 {
        fuzzed.drain();
        fuzzed.segment([0x1000, 0], Flags::SYN.and(Flags::ACK), u16::MAX, &[]);
    }
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        match input.byte() % 8 {
            0 => fuzzed.frame(input.bytes(2048)),
            1 | 2 => {
                let offsets = [input.word(), input.word()];
                let (flags, window) = (Flags::from_bits(input.byte()), input.word());
                fuzzed.segment(offsets, flags, window, input.bytes(MSS.into()));
            }
            3 => {
                fuzzed.now = fuzzed.now.plus(input.word().into());
                fuzzed.link.stall(fuzzed.now, |()| true);
                fuzzed.link.expire(fuzzed.now);
            }
            4 => {
                let bytes = vec![0x5a; usize::from(input.word())];
                fuzzed.host(|tcp| {
                    // As the host side does: nothing after the end.
                    if tcp.state().sending == Sending::Open {
                        tcp.to_guest_mut().extend(&bytes);
                    }
                });
            }
            5 => fuzzed.host(|tcp| {
                let held = tcp.to_host().len();
                tcp.taken(held.min(input.word().into()));
            }),
            6 => {
                let deadline = fuzzed.now.plus(u64::from(input.word()));
                match input.byte() % 3 {
                    0 => fuzzed.host(Endpoint::finish),
                    1 => fuzzed.host(|tcp| tcp.linger(deadline)),
                    _ => fuzzed.host(Endpoint::abort),
                }
            }
            _ => {
                for _ in 0..input.byte() {
                    fuzzed.link.take(fuzzed.now);
                }
            }
        }
        fuzzed.check();
    }
    fuzzed.drain();
}

/// A saved link of any bytes: it is refused, or goes on.
pub fn fuzz_link_state(data: &[u8]) {
    let config = UserNetConfig::default();
    let mut link = Link::new(&config.net, config.egress, std::sync::Arc::default());
    let Ok(state) = postcard::from_bytes::<UserNetState>(data) else {
        return;
    };
    let Ok(restored) = attach::restore(&config, link.max_mss(), Millis(1), state) else {
        return;
    };
    link.set_position(restored.position);
    for (_, tcp) in restored.connections {
        link.insert(tcp, ());
    }
    let mut fuzzed = Fuzzed {
        link,
        port: 0,
        now: Millis(1),
    };
    let connections = fuzzed.link.connections().count();
    for _ in 0..16 {
        fuzzed.check();
        for _ in 0..=connections {
            fuzzed.link.take(fuzzed.now);
        }
        fuzzed.now = fuzzed.now.plus(1_000);
        fuzzed.link.expire(fuzzed.now);
    }
}

impl Fuzzed {
    fn frame(&mut self, frame: &[u8]) {
        if let Some((port, payload)) = self.link.input(self.now, frame)
            && let Some(connection) = self.link.connection(port)
        {
            connection.tcp.hold(payload);
        }
    }

    /// A segment of the guest that is so far from the next one that it should send and from what it should acknowledge.
    fn segment(&mut self, [seq, ack]: [u16; 2], flags: Flags, window: u16, payload: &[u8]) {
        let Some(connection) = self.link.connection(self.port) else {
            return;
        };
        let state = connection.tcp.state();
        // Around zero: the top half is behind.
        let around = |from: Seq, offset: u16| from.plus_u32(i32::from(offset.cast_signed()).cast_unsigned());
        let segment = Segment {
            source_port: PORT,
            target_port: self.port,
            seq: around(state.rcv_nxt, seq),
            ack: around(state.snd_max, ack),
            flags,
            window,
            mss: None,
        };
        let mut frame = Vec::new();
        ethernet::write(&mut frame, NetConfig::default().mac, HOST_MAC, ethernet::IPV4);
        tcp::write(&mut frame, GUEST, HOST, &segment, [payload, &[]]);
        frame.extend_from_slice(payload);
        debug_assert!(frame.len() <= ETHERNET_HEADER + usize::from(ipv4::HEADER + tcp::HEADER + MSS));
        self.frame(&frame);
    }

    fn host(&mut self, act: impl FnOnce(&mut Endpoint)) {
        if let Some(connection) = self.link.connection(self.port) {
            act(&mut connection.tcp);
            self.link.touch(self.port);
        }
    }

    /// What is saved now can be restored, and everything is within its bounds.
    fn check(&self) {
        assert!(self.link.replies.len() <= MAX_REPLIES);
        for connection in self
            .link
            .connections()
            .filter(|connection| !connection.tcp.is_over())
        {
            let tcp = &connection.tcp;
            let (sent, held) = (tcp.to_guest().len(), tcp.to_host().len());
            assert!(held <= RECEIVE_CAPACITY);
            let sound = tcp.state().check(sent, held, self.link.max_mss());
            assert!(
                sound.is_ok(),
                "{sound:?}: {sent} to the guest, {held} to the host, {:?}",
                tcp.state()
            );
        }
    }

    /// Takes all frames there are: they end, and none is too long.
    fn drain(&mut self) {
        let longest = NetConfig::default().max_frame_bytes();
        for _ in 0..MAX_FRAMES {
            let Some(frame) = self.link.take(self.now) else {
                return;
            };
            let [first, second] = frame.body;
            assert!(frame.header.len() + first.len() + second.len() <= longest);
        }
        assert!(
            self.link.take(self.now).is_none(),
            "the link has frames without end"
        );
    }
}
