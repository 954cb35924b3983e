use smoltcp::socket::tcp::State;

use super::nic::{Machine, PORT, config, read_all, write};

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
