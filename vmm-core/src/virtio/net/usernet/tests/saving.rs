use std::net::Shutdown;

use proptest::prelude::*;
use smoltcp::socket::tcp::State;

use super::nic::{Host, Machine, PORT, config, read_all, write};
use crate::virtio::TransportState;
use crate::virtio::net::usernet::state::SavedHost;
use crate::virtio::net::usernet::{AttachError, ConnectError, DetachedStreams, UserNet, UserNetState};

/// Parks the machine and wakes it on a new host side, through the bytes of a snapshot.
fn park(machine: &mut Machine) -> (TransportState, UserNetState, DetachedStreams) {
    let transport = machine.host.transport();
    let (link, streams) = machine.host.with_link(UserNet::detach);
    let bytes = postcard::to_stdvec(&(transport, link)).unwrap();
    let (transport, link) = postcard::from_bytes(&bytes).unwrap();
    (transport, link, streams)
}

fn wake(machine: &mut Machine, saved: (TransportState, UserNetState, DetachedStreams), spares: usize) {
    machine.host = Host::new(&machine.guest.mem, config(spares));
    let (transport, link, streams) = saved;
    let host = &machine.host;
    host.device.lock().unwrap().restore(&transport).unwrap();
    host.with_link(|net| net.attach(link, streams)).unwrap();
    host.device.lock().unwrap().kick();
}

#[test]
fn connections_and_spares_stay_open_across_a_restore() {
    let mut machine = Machine::new(config(1));
    let sockets = [machine.listen(), machine.listen(), machine.listen()];
    let stream = machine.host.handle.connect(PORT).unwrap();
    machine.run_until("spares", |machine| machine.host.handle.spares_ready());
    machine.run();
    assert!(machine.host.is_quiet());
    let old = machine.host.handle.clone();
    let saved = park(&mut machine);
    assert!(matches!(old.connect(PORT), Err(ConnectError::Detached { .. })));
    assert_eq!(
        (
            saved.1.connections.len(),
            saved
                .1
                .connections
                .iter()
                .filter(|connection| connection.host == SavedHost::Stream)
                .count(),
            saved.2.len()
        ),
        (2, 1, 1)
    );
    assert_eq!(old.connections(), 0);

    write(&stream, b"while asleep");
    wake(&mut machine, saved, 1);
    assert!(machine.host.handle.spares_ready());
    let another = machine.host.handle.connect(PORT).unwrap();
    write(&another, b"to the spare");
    machine.run();
    for socket in sockets {
        machine.echo(socket);
    }
    machine.run();
    assert_eq!(read_all(&stream).0, b"while asleep");
    assert_eq!(read_all(&another).0, b"to the spare");
    let counts = machine.host.handle.counts();
    assert_eq!(
        (counts.connections_opened, counts.spares_used),
        (0, 1),
        "without a handshake"
    );
}

#[test]
fn a_clone_resets_the_connections_it_has_no_streams_for() {
    let mut machine = Machine::new(config(1));
    let sockets = [machine.listen(), machine.listen()];
    let stream = machine.host.handle.connect(PORT).unwrap();
    machine.run_until("a spare", |machine| machine.host.handle.spares_ready());
    let (transport, link, streams) = park(&mut machine);
    drop(streams);
    assert!(read_all(&stream).1);
    wake(&mut machine, (transport, link, DetachedStreams::default()), 1);
    machine.run();
    let mut states = sockets.map(|socket| machine.state(socket));
    states.sort_by_key(|state| *state == State::Established);
    assert_eq!(states, [State::Closed, State::Established]);
    assert!(machine.host.handle.spares_ready());
    assert_eq!(machine.host.handle.connections(), 0);
}

#[test]
fn requests_that_had_no_connection_yet_are_carried_over() {
    let mut machine = Machine::new(config(0));
    let stream = machine.host.handle.connect(PORT).unwrap();
    write(&stream, b"patience");
    let saved = park(&mut machine);
    assert_eq!((saved.1.connections.len(), saved.2.len()), (0, 1));
    wake(&mut machine, saved, 0);
    let socket = machine.listen();
    assert_eq!(machine.host.handle.connections(), 1);
    machine.run();
    machine.echo(socket);
    machine.run();
    assert_eq!(read_all(&stream).0, b"patience");
}

#[test]
fn a_link_goes_on_after_its_state_was_only_looked_at() {
    let mut machine = Machine::new(config(0));
    let socket = machine.listen();
    let stream = machine.host.handle.connect(PORT).unwrap();
    write(&stream, b"one ");
    machine.run();
    let looked = machine.host.with_link(|net| net.state());
    assert_eq!(looked.connections.len(), 1);
    write(&stream, b"two");
    machine.run();
    machine.echo(socket);
    machine.run();
    assert_eq!(read_all(&stream).0, b"one two");
}

#[test]
fn states_that_contradict_themselves_are_refused() {
    let mut machine = Machine::new(config(0));
    machine.listen();
    let _stream = machine.host.handle.connect(PORT).unwrap();
    machine.run();
    let (_, good, _) = park(&mut machine);
    let attach = |change: fn(&mut UserNetState)| {
        let mut state = good.clone();
        change(&mut state);
        machine
            .host
            .with_link(|net| net.attach(state, DetachedStreams::default()))
    };
    let refused = [
        attach(|s| s.connections = vec![s.connections[0].clone(); 2]),
        attach(|s| s.connections = vec![s.connections[0].clone(); 2000]),
        attach(|s| s.connections[0].tcp.host_port = 80),
        attach(|s| s.connections[0].tcp.mss = 0),
        attach(|s| s.connections[0].tcp.mss = 9000),
        attach(|s| s.connections[0].to_guest = vec![0; 65_537]),
        attach(|s| s.connections[0].to_host = vec![0; 65_536]),
        attach(|s| s.connections[0].tcp.snd_max.0 = s.connections[0].tcp.snd_max.0.wrapping_add(1)),
        attach(|s| s.connections[0].tcp.snd_nxt.0 = s.connections[0].tcp.snd_nxt.0.wrapping_sub(1)),
        attach(|s| s.connections[0].tcp.rcv_adv.0 = s.connections[0].tcp.rcv_adv.0.wrapping_add(1 << 20)),
        attach(|s| s.position.replies = vec![Vec::new(); 17]),
        attach(|s| s.position.replies = vec![vec![0; 1515]]),
    ];
    for (case, result) in refused.iter().enumerate() {
        assert!(result.is_err(), "case {case}");
    }
    assert!(matches!(refused[2], Err(AttachError::Port { port: 80 })));
    attach(|_| ()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Saving and restoring at any point of an exchange loses, repeats and reorders nothing.
    #[test]
    fn an_exchange_survives_being_parked_anywhere(
        steps in proptest::collection::vec((0..4u8, 1..30_000usize), 1..40)
    ) {
        let mut machine = Machine::new(config(0));
        let socket = machine.listen();
        let stream = machine.host.handle.connect(PORT).unwrap();
        let (mut sent, mut received, mut next) = (Vec::new(), Vec::new(), 0u32);
        for (step, count) in steps {
            match step {
                0 => {
                    let bytes: Vec<u8> = (0..count).map(|_| { next += 1; (next ^ (next >> 8)).to_le_bytes()[0] }).collect();
                    let written = write(&stream, &bytes);
                    sent.extend_from_slice(&bytes[..written]);
                    next -= u32::try_from(count - written).unwrap();
                }
                1 => machine.step(),
                2 => machine.echo(socket),
                _ => {
                    let saved = park(&mut machine);
                    wake(&mut machine, saved, 0);
                }
            }
            received.extend(read_all(&stream).0);
        }
        stream.shutdown(Shutdown::Write).unwrap();
        machine.run_until("the end", |machine| {
            machine.echo(socket);
            let (bytes, end) = read_all(&stream);
            received.extend(bytes);
            end
        });
        prop_assert!(sent == received);
    }
}
