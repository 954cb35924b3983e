use std::time::Duration;

use smoltcp::socket::tcp::State;

use super::nic::{Machine, PORT, config, read_all, write};
use crate::virtio::net::usernet::UserNet;

#[test]
fn a_spare_needs_no_handshake() {
    let mut machine = Machine::new(config(2));
    let sockets = [machine.listen(), machine.listen(), machine.listen()];
    assert!(!machine.host.handle.spares_ready());
    machine.run_until("spares", |machine| machine.host.handle.spares_ready());
    assert!(machine.host.handle.spares_event().read().is_ok());
    machine.run();
    assert!(machine.host.handle.is_quiet());

    let frames = machine.host.handle.counts().frames_to_guest;
    let stream = machine.host.handle.connect(PORT).unwrap();
    write(&stream, b"at once");
    machine.run();
    assert_eq!(
        machine.host.handle.counts().frames_to_guest - frames,
        1,
        "the request itself"
    );
    for socket in sockets {
        machine.echo(socket);
    }
    machine.run();
    assert_eq!(read_all(&stream).0, b"at once");
    assert_eq!(machine.host.handle.counts().spares_used, 1);
    machine.run_until("the next spare", |machine| machine.host.handle.spares_ready());
    assert!(machine.host.handle.spares_event().read().is_ok());
}

#[test]
fn spares_wait_until_the_guest_serves() {
    let mut machine = Machine::new(config(1));
    machine.run_until("two refusals", |machine| {
        machine.host.handle.counts().spares_lost >= 2
    });
    assert!(!machine.host.handle.spares_ready());
    machine.listen();
    machine.host.handle.refill_spares();
    machine.run();
    assert!(machine.host.handle.spares_ready());
    assert_eq!(machine.host.handle.connections(), 0, "spares do not count");
}

#[test]
fn a_spare_the_guest_ends_is_replaced_in_good_time() {
    let mut machine = Machine::new(config(1));
    let socket = machine.listen();
    machine.run_until("a spare", |machine| machine.host.handle.spares_ready());
    machine.guest.stack.socket(socket).close();
    machine.run();
    assert!(!machine.host.handle.spares_ready());
    assert_eq!(machine.state(socket), State::Closed);
    machine.listen();
    machine.run_until("another", |machine| machine.host.handle.spares_ready());
    assert_eq!(machine.host.handle.connections(), 0);
}

#[test]
fn what_a_server_says_first_waits_in_the_spare() {
    let mut machine = Machine::new(config(1));
    let socket = machine.listen();
    machine.run_until("a spare", |machine| machine.host.handle.spares_ready());
    machine
        .guest
        .stack
        .socket(socket)
        .send_slice(b"220 ready")
        .unwrap();
    machine.run();
    let stream = machine.host.handle.connect(PORT).unwrap();
    machine.run();
    assert_eq!(read_all(&stream).0, b"220 ready");
}

#[test]
fn who_waits_for_a_settled_link_hears_of_it() {
    let mut machine = Machine::new(config(1));
    let handle = machine.host.handle.clone();
    assert!(!handle.wait_settled(Duration::ZERO), "no spare yet");
    let waiter = std::thread::spawn({
        let handle = handle.clone();
        move || handle.wait_settled(Duration::from_secs(60))
    });
    machine.listen();
    machine.run_until("a spare", |machine| machine.host.handle.spares_ready());
    machine.run();
    assert!(waiter.join().unwrap());

    machine.listen();
    let stream = handle.connect(PORT).unwrap();
    assert!(!handle.wait_settled(Duration::ZERO), "a request is under way");
    machine.run_until("the next spare", |machine| machine.host.handle.spares_ready());
    machine.run();
    assert!(handle.wait_settled(Duration::ZERO));
    drop(stream);
}

#[test]
fn nobody_waits_for_a_detached_link() {
    let mut machine = Machine::new(config(1));
    let handle = machine.host.handle.clone();
    let waiter = std::thread::spawn({
        let handle = handle.clone();
        move || handle.wait_settled(Duration::from_secs(60))
    });
    machine.run();
    drop(machine.host.with_link(UserNet::detach));
    assert!(!waiter.join().unwrap());
    assert!(!handle.wait_settled(Duration::from_secs(60)), "at once");
}

#[test]
fn a_link_without_spares_has_all_of_them() {
    let mut machine = Machine::new(config(0));
    machine.run();
    assert!(machine.host.handle.spares_ready());
    assert!(machine.host.handle.wait_settled(Duration::ZERO));
}
