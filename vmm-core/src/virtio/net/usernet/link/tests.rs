mod rig;

use proptest::prelude::*;
use smoltcp::socket::tcp::State;

use self::rig::{PORT, Rig, TO_GUEST, TO_HOST, bytes, link};
use super::*;
use crate::virtio::net::usernet::guest::Guest;
use crate::virtio::net::usernet::tcp::{Ending, Phase};

#[derive(Clone, Debug)]
enum Step {
    HostWrites(usize),
    HostReads(usize),
    HostCloses,
    GuestWrites(usize),
    GuestReads(usize),
    GuestCloses,
    /// The link loses nothing, but the guest may.
    GuestLoses(usize),
    Advance(u64),
    Reload,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..70_000usize).prop_map(Step::HostWrites),
        6 => (0..70_000usize).prop_map(Step::GuestWrites),
        4 => (0..70_000usize).prop_map(Step::HostReads),
        4 => (0..70_000usize).prop_map(Step::GuestReads),
        1 => Just(Step::HostCloses),
        1 => Just(Step::GuestCloses),
        3 => (1..4usize).prop_map(Step::GuestLoses),
        3 => (1..400u64).prop_map(Step::Advance),
        3 => Just(Step::Reload),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Whatever is written, read, closed, lost, saved and restored in whatever order: what arrives is what was sent, and
    /// neither direction waits for the other.
    #[test]
    fn both_streams_arrive_whole(
        sizes in (64..20_000usize, 64..100_000usize),
        ack_delay: bool,
        unread in 0..3usize,
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut rig = Rig::new(sizes.0, sizes.1, ack_delay);
        rig.appetite = 0;
        for step in steps {
            match step {
                Step::HostWrites(count) => rig.host_writes(count),
                Step::HostReads(count) => rig.host_reads(count),
                Step::HostCloses => rig.host_closes(),
                Step::GuestWrites(count) => rig.guest_writes(count),
                Step::GuestReads(count) => rig.guest_reads(count),
                Step::GuestCloses => rig.guest_closes(),
                Step::GuestLoses(count) => rig.lose[TO_GUEST] = count,
                Step::Advance(ms) => rig.advance(ms),
                Step::Reload => rig.reload(),
            }
            rig.exchange();
        }
        if let reader @ (TO_GUEST | TO_HOST) = unread {
            rig.finish_one(reader);
        }
        rig.finish();
        rig.host_closes();
        for _ in 0..1_000 {
            rig.exchange();
            rig.guest_closes();
            rig.finish();
            rig.advance(20);
        }
        let (ours, theirs) = (rig.link.connection(rig.id).unwrap().tcp.state().clone(), rig.guest.socket(rig.socket).state());
        prop_assert!(rig.to_host.closed && rig.link.next_over().is_some(), "not closed in good order: {ours:?}, {theirs:?}");
        prop_assert_eq!(rig.link.counters.connections_reset.value(), 0);
    }

    /// Frames of random bytes, and real ones with a few bytes changed, harm nothing but their own connection.
    #[test]
    fn hostile_frames_do_no_harm(
        frames in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..120),
             proptest::collection::vec((0..100usize, any::<u8>()), 0..4), any::<bool>()),
            1..100,
        )
    ) {
        let mut rig = Rig::new(4096, 4096, false);
        rig.exchange();
        rig.guest_writes(3000);
        rig.guest.poll(rig.now);
        let real: Vec<u8> = rig.guest.wire.sent.pop_front().unwrap();
        for (random, noise, changes, mend) in frames {
            let mut frame = if random { noise } else { real[..real.len() - noise.len()].to_vec() };
            for (at, value) in changes {
                if let Some(byte) = frame.get_mut(at) {
                    *byte = value;
                }
            }
            if mend {
                mend_checksums(&mut frame);
            }
            if let Some((id, payload)) = rig.link.input(rig.now, &frame) {
                let tcp = &mut rig.link.connection(id).unwrap().tcp;
                tcp.hold(payload);
                prop_assert!(tcp.to_host().len() <= 65_535);
            }
            prop_assert!(rig.link.replies.len() <= MAX_REPLIES);
            prop_assert!(rig.link.connections.len() == 1);
        }
        for _ in 0..100 {
            rig.link.take(rig.now);
            rig.advance(100);
        }
    }
}

/// Makes the checksums of an IPv4 TCP frame right, as far as it is one.
fn mend_checksums(frame: &mut [u8]) {
    use crate::virtio::net::usernet::wire::checksum::Sum;
    let Some(ip) = frame.get_mut(14..).filter(|ip| ip.len() >= 40) else {
        return;
    };
    ip[10..12].fill(0);
    let header = usize::from(ip[0] & 0xf) * 4;
    let sum = Sum::default().add(&ip[..header.clamp(20, ip.len())]).finish();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let Some(tcp) = ip.get(header..total).filter(|tcp| tcp.len() >= 20) else {
        return;
    };
    let length = u16::try_from(tcp.len()).unwrap();
    let mut tcp = tcp.to_vec();
    tcp[16..18].fill(0);
    let address = |at: usize| <[u8; 4]>::try_from(&ip[at..at + 4]).unwrap().into();
    let sum = ipv4::pseudo_header(address(12), address(16), ip[9], length)
        .add(&tcp)
        .finish();
    ip[header + 16..header + 18].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn a_connection_is_opened_used_and_closed() {
    let mut rig = Rig::new(4096, 4096, false);
    rig.exchange();
    assert_eq!(rig.phase(), Some(Phase::Open));
    assert!(rig.link.is_quiet());
    rig.host_writes(100);
    assert!(!rig.link.is_quiet());
    rig.exchange();
    rig.guest_reads(100);
    rig.guest_writes(50);
    rig.exchange();
    assert_eq!((rig.to_guest.seen, rig.to_host.seen), (100, 50));
    assert!(rig.link.is_quiet());
    rig.host_closes();
    rig.exchange();
    assert!(rig.link.is_quiet(), "half closed is quiet");
    rig.guest_writes(10);
    rig.guest_closes();
    rig.exchange();
    assert_eq!(rig.to_host.seen, 60);
    assert_eq!(rig.link.next_over(), Some(rig.id));
}

#[test]
fn one_frame_acknowledges_what_came_in_one_pass() {
    let mut rig = Rig::new(4096, 4096, false);
    rig.exchange();
    let before = rig.link.counters.frames_to_guest.value();
    rig.guest_writes(2 * 1460);
    rig.exchange();
    assert_eq!(
        (
            rig.to_host.seen,
            rig.link.counters.frames_to_guest.value() - before
        ),
        (2 * 1460, 1)
    );
}

#[test]
fn a_refused_connection_is_known_at_once() {
    let mut rig = Rig::new(64, 64, false);
    rig.link = link();
    rig.id = rig.link.open(PORT + 1, ());
    rig.exchange();
    // This guest forgets its answer over asking for our Ethernet address.
    rig.advance(200);
    rig.exchange();
    assert_eq!(rig.phase(), Some(Phase::Closed(Ending::Refused)));
    assert_eq!(rig.link.next_over(), Some(rig.id));
}

#[test]
fn a_silent_guest_is_given_up_after_eight_tries() {
    let mut link = link();
    let id = link.open(PORT, ());
    assert!(link.take(Millis(0)).is_some(), "our address");
    let (mut now, mut syns) = (Millis(0), 0);
    while !matches!(link.connection(id).unwrap().tcp.state().phase, Phase::Closed(_)) {
        while link.take(now).is_some() {
            syns += 1;
        }
        now = link.deadline().unwrap();
        link.expire(now);
    }
    assert_eq!((syns, now), (9, Millis(200 * 511)));
}

#[test]
fn a_lost_segment_is_repeated_by_the_timer_alone() {
    let mut rig = Rig::new(4096, 4096, false);
    rig.exchange();
    rig.lose[TO_GUEST] = 1;
    rig.host_writes(10);
    rig.exchange();
    rig.guest_reads(100);
    assert_eq!(rig.to_guest.seen, 0);
    rig.advance(199);
    rig.exchange();
    rig.guest_reads(100);
    assert_eq!(rig.to_guest.seen, 0);
    rig.advance(1);
    rig.exchange();
    rig.guest_reads(100);
    assert_eq!(rig.to_guest.seen, 10);
    assert!(rig.link.expire(rig.now).is_empty());
    assert_eq!(rig.link.deadline(), None);
}

/// Both ends have sent all that the other takes unread, and the guest has been asked again for room.
fn both_windows_shut() -> Rig {
    let mut rig = Rig::new(4096, 100_000, false);
    rig.appetite = 0;
    rig.exchange();
    rig.host_writes(10_000);
    rig.guest_writes(100_000);
    rig.exchange();
    assert_eq!(rig.tcp().to_host().free(), 0);
    rig.advance(200);
    rig.exchange();
    rig
}

#[test]
fn the_guest_hears_of_room_while_it_has_none_itself() {
    let mut rig = both_windows_shut();
    rig.host_reads(usize::MAX);
    rig.exchange();
    assert_eq!(rig.to_host.seen, 100_000, "without waiting for any timer");
}

#[test]
fn a_question_beyond_the_window_tells_the_guest_nothing() {
    let mut rig = both_windows_shut();
    // The next question is due when the room is made known, and goes first.
    let due = rig.link.deadline().unwrap();
    rig.advance(due.since(rig.now));
    rig.host_reads(usize::MAX);
    rig.exchange();
    assert_eq!(rig.to_host.seen, 100_000);
}

#[test]
fn bytes_behind_a_gap_wait_for_the_gap() {
    let mut rig = Rig::new(4096, 4096, false);
    rig.exchange();
    rig.lose[TO_HOST] = 1;
    rig.guest_writes(2 * 1460);
    rig.exchange();
    assert_eq!(rig.to_host.seen, 0);
    rig.finish();
    assert_eq!(rig.to_host.seen, 2 * 1460);
}

#[test]
fn what_the_guest_starts_is_denied_and_counted() {
    let mut link = link();
    let mut guest = Guest::new();
    let socket = guest.listen(PORT, 64, 64);
    guest.socket(socket).abort();
    let (interface, sockets) = guest.interface();
    let remote = (smoltcp::wire::Ipv4Address::new(1, 1, 1, 1), 443);
    sockets
        .get_mut::<smoltcp::socket::tcp::Socket<'_>>(socket)
        .connect(interface.context(), remote, 5000)
        .unwrap();
    for _ in 0..4 {
        guest.poll(Millis(1));
        while let Some(frame) = guest.wire.sent.pop_front() {
            assert!(link.input(Millis(1), &frame).is_none());
        }
        while let Some(frame) = link.take(Millis(1)) {
            guest.wire.received.push_back(bytes(frame));
        }
    }
    assert_eq!(guest.socket(socket).state(), State::Closed);
    assert_eq!(link.counters.egress_denied.value(), 1);
}

#[test]
fn every_address_but_its_own_answers_arp() {
    for (last, answered) in [(2, true), (3, true), (15, false)] {
        let mut link = link();
        let mut request = vec![0xff; 6];
        request.extend_from_slice(&NetConfig::default().mac.0);
        request.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        request.extend_from_slice(&NetConfig::default().mac.0);
        request.extend_from_slice(&[10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, last]);
        assert!(link.input(Millis(0), &request).is_none());
        let reply = link.take(Millis(0)).map(bytes);
        assert_eq!(reply.is_some(), answered);
        if let Some(reply) = reply {
            assert_eq!(reply[..6], NetConfig::default().mac.0);
            assert_eq!(reply[20..32], [0, 2, 0x52, 0x55, 10, 0, 2, 2, 10, 0, 2, last]);
        }
    }
}

#[test]
fn the_gateway_answers_ping() {
    let mut link = link();
    let echo = [0x12, 0x34, 0, 1, b'p', b'i', b'n', b'g', b'!'];
    let mut frame = Vec::new();
    ethernet::write(&mut frame, NetConfig::default().mac, HOST_MAC, ethernet::IPV4);
    ipv4::write(&mut frame, GUEST, HOST, ipv4::ICMP, 13);
    let at = frame.len();
    icmp::write_reply(&mut frame, &echo);
    // A reply and a request differ in their first byte, and so in their checksum.
    frame[at] = 8;
    frame[at + 2] = frame[at + 2].wrapping_sub(8);
    assert!(link.input(Millis(0), &frame).is_none());
    let reply = bytes(link.take(Millis(0)).unwrap());
    assert_eq!(reply[14 + 20..][..2], [0, 0]);
    assert_eq!(reply[14 + 24..], echo);
    assert_eq!(icmp::parse_echo(&reply[34..]), Ok(None), "its checksum is right");

    frame[at + 5] ^= 1;
    link.input(Millis(0), &frame);
    assert_eq!(
        (link.has_frames(), link.counters.checksum_errors.value()),
        (false, 1)
    );
}

#[test]
fn waiting_answers_are_bounded() {
    let mut link = link();
    let mut frame = Vec::new();
    for seq in 0..100 {
        let segment = Segment {
            source_port: 1,
            target_port: 2,
            seq: Seq(seq),
            ack: Seq(0),
            flags: Flags::ACK,
            window: 0,
            mss: None,
        };
        ethernet::write(&mut frame, NetConfig::default().mac, HOST_MAC, ethernet::IPV4);
        tcp::write(&mut frame, GUEST, HOST, &segment, [&[], &[]]);
        link.input(Millis(0), &frame);
    }
    assert_eq!(link.replies.len(), MAX_REPLIES);
    assert_eq!(link.counters.dropped_replies.value(), 84);
}

#[test]
fn the_guest_is_told_our_address_before_the_first_handshake_only() {
    let mut link = link();
    link.open(PORT, ());
    let frame = link.take(Millis(0)).unwrap();
    let (ethertype, packet) = ethernet::parse(frame.header).unwrap();
    assert_eq!(ethertype, ethernet::ARP);
    let request = arp::parse(packet).unwrap().unwrap();
    assert_eq!(
        (request.sender, request.sender_mac, request.target),
        (HOST, HOST_MAC, GUEST)
    );
    link.open(PORT, ());
    let mut frames = 0;
    while link.take(Millis(0)).is_some() {
        frames += 1;
    }
    assert_eq!(frames, 2, "two handshakes");
}
