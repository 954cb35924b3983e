use std::net::Shutdown;

use smoltcp::socket::tcp::State;

use super::nic::{Machine, PORT, config, read_all, write};
use crate::virtio::net::usernet::{ConnectError, UserNet, UserNetConfig};

#[test]
fn a_stream_to_a_guest_port_echoes() {
    let mut machine = Machine::new(config(0));
    let socket = machine.listen();
    let stream = machine.host.handle.connect(PORT).unwrap();
    assert!(!machine.host.handle.is_quiet());
    assert_eq!(write(&stream, b"written before the guest has answered"), 37);
    machine.run();
    machine.echo(socket);
    machine.run();
    assert_eq!(
        read_all(&stream),
        (b"written before the guest has answered".to_vec(), false)
    );
    assert!(machine.host.handle.is_quiet() && machine.host.is_quiet());
    let counts = machine.host.handle.counts();
    assert_eq!(
        (
            counts.connections_opened,
            counts.malformed_frames,
            counts.checksum_errors
        ),
        (1, 0, 0)
    );
    assert_eq!(machine.host.handle.connections(), 1);
}

#[test]
fn a_request_costs_one_interrupt_and_its_answer_another() {
    let mut machine = Machine::new(config(0));
    let socket = machine.listen();
    let stream = machine.host.handle.connect(PORT).unwrap();
    machine.run();
    let before = machine.host.device.lock().unwrap().counts().interrupts;
    write(&stream, &[1; 1000]);
    machine.run();
    assert_eq!(
        machine.host.device.lock().unwrap().counts().interrupts - before,
        1
    );
    machine.echo(socket);
    machine.run();
    assert_eq!(
        machine.host.device.lock().unwrap().counts().interrupts - before,
        2
    );
}

#[test]
fn large_transfers_pass_small_buffers_in_both_directions() {
    let mut machine = Machine::new(config(0));
    let socket = machine.listen();
    let stream = machine.host.handle.connect(PORT).unwrap();
    let bytes: Vec<u8> = (0..1_500_000u32)
        .map(|i| (i ^ (i >> 8)).to_le_bytes()[0])
        .collect();
    let (mut written, mut read) = (0, Vec::new());
    machine.run_until("the echo", |machine| {
        for _ in 0..50 {
            written += write(&stream, &bytes[written..]);
            machine.run();
            machine.echo(socket);
            // The host reads late, so that the guest's bytes pile up.
            if written == bytes.len() {
                read.extend(read_all(&stream).0);
            }
            machine.run();
            if written < bytes.len() && write(&stream, &bytes[written..written + 1]) == 0 {
                read.extend(read_all(&stream).0);
            } else if written < bytes.len() {
                written += 1;
            }
        }
        read.len() == bytes.len()
    });
    assert!(read == bytes);
    machine.run();
    assert!(machine.host.handle.is_quiet());
}

#[test]
fn each_direction_ends_on_its_own() {
    let mut machine = Machine::new(config(0));
    let socket = machine.listen();
    let stream = machine.host.handle.connect(PORT).unwrap();
    write(&stream, b"question");
    stream.shutdown(Shutdown::Write).unwrap();
    machine.run();
    assert_eq!(machine.state(socket), State::CloseWait);
    assert!(machine.host.handle.is_quiet(), "half closed is quiet");
    machine.echo(socket);
    machine.run();
    assert_eq!(read_all(&stream), (b"question".to_vec(), true));
    assert_eq!(machine.host.handle.connections(), 0);

    let socket = machine.listen();
    let stream = machine.host.handle.connect(PORT).unwrap();
    machine.run();
    machine.guest.stack.socket(socket).close();
    machine.run();
    assert_eq!(read_all(&stream), (Vec::new(), true));
    write(&stream, b"still heard");
    machine.run();
    let mut heard = [0; 20];
    assert_eq!(machine.guest.stack.socket(socket).recv_slice(&mut heard), Ok(11));
    drop(stream);
    machine.run();
    assert_eq!(machine.state(socket), State::TimeWait);
    assert_eq!(machine.host.handle.connections(), 0);
}

#[test]
fn a_host_that_leaves_is_a_guest_that_hears_the_end() {
    let mut machine = Machine::new(config(0));
    let socket = machine.listen();
    let stream = machine.host.handle.connect(PORT).unwrap();
    machine.run();
    write(&stream, b"bye");
    drop(stream);
    machine.run();
    assert_eq!(machine.state(socket), State::CloseWait);
    let mut heard = [0; 20];
    assert_eq!(machine.guest.stack.socket(socket).recv_slice(&mut heard), Ok(3));
    // Answering somebody who is gone is a reset.
    machine.guest.stack.socket(socket).send_slice(b"answer").unwrap();
    machine.run();
    assert_eq!(machine.state(socket), State::Closed);
    assert_eq!(machine.host.handle.connections(), 0);
}

#[test]
fn a_host_that_leaves_bytes_unread_resets() {
    let mut machine = Machine::new(config(0));
    let socket = machine.listen();
    let stream = machine.host.handle.connect(PORT).unwrap();
    machine.run();
    machine.guest.stack.socket(socket).send_slice(b"unread").unwrap();
    machine.run();
    drop(stream);
    machine.run();
    assert_eq!(machine.state(socket), State::Closed);
}

#[test]
fn a_guest_that_keeps_a_dead_connection_is_reset() {
    let mut machine = Machine::new(config(0));
    let socket = machine.listen();
    drop(machine.host.handle.connect(PORT).unwrap());
    machine.run();
    assert_eq!(machine.state(socket), State::CloseWait);
    machine.run_until("the reset", |machine| machine.state(socket) == State::Closed);
    assert_eq!(machine.host.handle.connections(), 0);
}

#[test]
fn a_refused_stream_is_closed() {
    let mut machine = Machine::new(config(0));
    let stream = machine.host.handle.connect(PORT).unwrap();
    machine.run_until("the refusal", |_| read_all(&stream).1);
    assert_eq!(machine.host.handle.counts().connections_refused, 1);
    assert_eq!(machine.host.handle.connections(), 0);
}

#[test]
fn a_reset_stream_is_closed() {
    let mut machine = Machine::new(config(0));
    let socket = machine.listen();
    let stream = machine.host.handle.connect(PORT).unwrap();
    machine.run();
    machine.guest.stack.socket(socket).abort();
    machine.run();
    assert!(read_all(&stream).1);
    assert_eq!(machine.host.handle.counts().connections_reset, 1);
}

#[test]
fn a_link_that_is_gone_takes_no_requests() {
    let machine = Machine::new(config(0));
    let handle = machine.host.handle.clone();
    let waiting = handle.connect(PORT).unwrap();
    drop(machine);
    assert!(read_all(&waiting).1);
    assert!(matches!(handle.connect(PORT), Err(ConnectError::Detached { .. })));
}

#[test]
fn handshakes_take_turns_and_connections_are_bounded() {
    let limits = UserNetConfig {
        max_connections: 5,
        max_handshakes: 2,
        ..config(0)
    };
    let mut machine = Machine::new(limits);
    let streams: Vec<_> = (0..5)
        .map(|_| machine.host.handle.connect(PORT).unwrap())
        .collect();
    assert!(matches!(
        machine.host.handle.connect(PORT),
        Err(ConnectError::Full { limit: 5, .. })
    ));
    let sockets: Vec<_> = (0..5).map(|_| machine.listen()).collect();
    for (i, stream) in streams.iter().enumerate() {
        write(stream, &[u8::try_from(i).unwrap()]);
    }
    machine.run();
    for socket in sockets {
        machine.echo(socket);
    }
    machine.run();
    let echoes: Vec<_> = streams.iter().map(|stream| read_all(stream).0).collect();
    assert_eq!(echoes, (0..5).map(|i| vec![i]).collect::<Vec<_>>());
    drop(streams);
    machine.run_until("room", |machine| machine.host.handle.connections() == 0);
    assert!(machine.host.handle.connect(PORT).is_ok());
}

#[test]
fn a_silent_host_costs_no_wake_ups() {
    let mut machine = Machine::new(config(0));
    let _socket = machine.listen();
    let _stream = machine.host.handle.connect(PORT).unwrap();
    machine.run();
    // One expiry of the timer may still come; after that there is nothing to wake for.
    machine.run_until("silence", |machine| {
        machine.host.with_link(|net| net.is_disarmed())
    });
}

/// A guest that has sent until nothing more is taken, and how much of it was acknowledged.
fn nobody_reads(machine: &mut Machine) -> (std::os::unix::net::UnixStream, Vec<u8>) {
    let socket = machine.listen();
    let stream = machine.host.handle.connect(PORT).unwrap();
    machine.run();
    let bytes: Vec<u8> = (0..2_000_000u32)
        .map(|i| (i ^ (i >> 8)).to_le_bytes()[0])
        .collect();
    let mut sent = 0;
    loop {
        let count = machine
            .guest
            .stack
            .socket(socket)
            .send_slice(&bytes[sent..])
            .unwrap();
        if count == 0 {
            break;
        }
        sent += count;
        machine.run();
    }
    let acknowledged = sent - machine.guest.stack.socket(socket).send_queue();
    assert!(
        acknowledged > 100_000 && sent > acknowledged,
        "{acknowledged} of {sent}"
    );
    (stream, bytes[..acknowledged].to_vec())
}

#[test]
fn what_was_acknowledged_can_be_read_after_the_end() {
    let mut machine = Machine::new(config(0));
    let (stream, acknowledged) = nobody_reads(&mut machine);
    machine.host.with_link(UserNet::end);
    assert_eq!(
        machine.host.handle.connections(),
        0,
        "nothing is kept for the reader"
    );
    let (read, ended) = read_all(&stream);
    assert!(ended && read == acknowledged, "{} bytes", read.len());

    let mut machine = Machine::new(config(0));
    let (stream, acknowledged) = nobody_reads(&mut machine);
    drop(machine);
    let (read, ended) = read_all(&stream);
    assert!(ended && read == acknowledged, "{} bytes", read.len());
}
