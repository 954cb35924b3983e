//! Guests that take no frames: nobody waits for them for ever. Time is handed in.

use std::os::unix::net::UnixStream;

use super::nic::{config, read_all, write};
use crate::virtio::net::backend::NetBackend;
use crate::virtio::net::usernet::guest::Guest;
use crate::virtio::net::usernet::tcp::GIVE_UP_MS;
use crate::virtio::net::usernet::time::Millis;
use crate::virtio::net::usernet::{UserNet, UserNetConfig};

const PORT: u16 = 80;

/// A pass at `now` in which the guest takes nothing.
fn pass(net: &mut UserNet, now: Millis) {
    net.set_now(now);
    net.wake();
    net.settle();
}

/// Four passes at `now` in which the guest takes and answers what there is.
fn exchange(net: &mut UserNet, guest: &mut Guest, now: Millis) {
    for _ in 0..4 {
        while let Some(frame) = net.take() {
            guest
                .wire
                .received
                .push_back([frame.header, frame.body[0], frame.body[1]].concat());
        }
        guest.poll(now);
        while let Some(frame) = guest.wire.sent.pop_front() {
            net.give(&frame);
        }
        net.settle();
    }
}

/// Lets the link's timer go off until `done`, or until it is not set any more. Answers when that was.
fn wait(net: &mut UserNet, mut now: Millis, done: impl Fn(&mut UserNet) -> bool) -> Millis {
    for _ in 0..1_000 {
        if done(net) {
            return now;
        }
        let Some(due) = net.due() else { return now };
        now = now.max(due);
        net.set_now(now);
        net.timer_expired();
        net.settle();
    }
    panic!("the timer never stops");
}

fn ended(stream: &UnixStream) -> bool {
    read_all(stream).1
}

#[test]
fn a_connect_to_a_guest_that_takes_no_frames_times_out() {
    let mut net = UserNet::new(config(0)).unwrap();
    let (handle, start) = (net.handle(), Millis(1_000));
    let stream = handle.connect(PORT).unwrap();
    pass(&mut net, start);
    let end = wait(&mut net, start, |_| ended(&stream));
    assert!(ended(&stream));
    assert_eq!(end.since(start), GIVE_UP_MS);
    assert_eq!(
        (
            handle.counts().connections_timed_out,
            handle.connections(),
            handle.counts().frames_to_guest
        ),
        (1, 0, 0)
    );
    assert!(net.is_disarmed());
}

#[test]
fn requests_that_wait_for_their_turn_time_out_too() {
    let config = UserNetConfig {
        max_handshakes: 1,
        max_connections: 20,
        ..config(1)
    };
    let mut net = UserNet::new(config).unwrap();
    let (handle, start) = (net.handle(), Millis(1_000));
    let streams: Vec<_> = (0..20).map(|_| handle.connect(PORT + 1).unwrap()).collect();
    assert!(handle.connect(PORT + 1).is_err(), "what waits is bounded");
    pass(&mut net, start);
    // The only handshake is the spare's, which has no bound of its own.
    let end = wait(&mut net, start, |_| streams.iter().all(ended));
    assert!(streams.iter().all(ended));
    assert!(end.since(start) <= 2 * GIVE_UP_MS, "{end:?}");
    assert_eq!(
        (handle.counts().connections_timed_out, handle.connections()),
        (20, 0)
    );
    assert!(net.is_disarmed(), "a spare wakes nobody");
}

#[test]
fn an_open_connection_ends_when_its_guest_takes_no_more_frames() {
    let mut net = UserNet::new(config(0)).unwrap();
    let (mut guest, now) = (Guest::new(), Millis(1_000));
    guest.listen(PORT, 4096, 4096);
    let handle = net.handle();
    let stream = handle.connect(PORT).unwrap();
    net.set_now(now);
    net.wake();
    exchange(&mut net, &mut guest, now);
    assert!(net.is_quiet());
    assert_eq!(handle.counts().connections_opened, 1);

    // From here on the guest is stuck.
    write(&stream, b"is anybody there?");
    pass(&mut net, now);
    let end = wait(&mut net, now, |_| ended(&stream));
    assert!(ended(&stream));
    assert!((GIVE_UP_MS..2 * GIVE_UP_MS).contains(&end.since(now)), "{end:?}");
    assert_eq!(handle.connections(), 0);
    assert!(net.is_disarmed());
}

#[test]
fn a_guest_that_takes_frames_again_in_time_is_connected() {
    let mut net = UserNet::new(config(0)).unwrap();
    let (mut guest, start) = (Guest::new(), Millis(1_000));
    guest.listen(PORT, 4096, 4096);
    let stream = net.handle().connect(PORT).unwrap();
    pass(&mut net, start);
    let late = wait(&mut net, start, |net| {
        net.due().is_some_and(|due| due.since(start) == GIVE_UP_MS)
    });
    net.set_now(late);
    exchange(&mut net, &mut guest, late);
    assert_eq!(net.handle().counts().connections_opened, 1);
    assert!(!ended(&stream) && net.is_quiet());
    let end = wait(&mut net, late, |_| false);
    assert!(!ended(&stream), "{end:?}");
    assert!(net.is_disarmed(), "nothing runs any more");
}
