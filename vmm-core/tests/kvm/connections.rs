//! The link as the host's programs use it.

use std::io::{ErrorKind, Read};
use std::thread;

use vmm_core::{ConnectError, MARK_SERVING, UserNetConfig, UserNetCounts, Vm, VmConfig};

use crate::common::{
    HTTP, PATIENCE, Test, ask, config, connect, eventually, get, hypervisor, request, serving, settle,
    wait_stop,
};

pub(crate) const TESTS: &[Test] = &[
    ("many_requests_on_one_connection", many_requests_on_one_connection),
    ("many_connections_at_once", many_connections_at_once),
    (
        "a_spare_connection_needs_no_handshake",
        a_spare_connection_needs_no_handshake,
    ),
    ("a_closed_port_refuses", a_closed_port_refuses),
    ("connections_have_a_limit", connections_have_a_limit),
    (
        "streams_end_when_the_guest_stops",
        streams_end_when_the_guest_stops,
    ),
    ("streams_end_with_the_vm", streams_end_with_the_vm),
    (
        "a_connection_made_before_the_guest_serves_is_served_later",
        early_connections_are_served_or_refused,
    ),
];

fn with_net(net: UserNetConfig) -> VmConfig {
    config().net(Some(net))
}

fn many_requests_on_one_connection() {
    let vm = serving(&hypervisor(), &config());
    let mut stream = connect(&vm);
    for n in 1..=50 {
        assert_eq!(get(&mut stream, "/count"), n.to_string());
    }
    assert_eq!(vm.net().unwrap().counts().connections_opened, 1);
    assert_eq!(vm.net().unwrap().counts().checksum_errors, 0);
    let device = vm.net_device_counts().unwrap();
    assert!(device.interrupts > 0);
    assert_eq!((device.broken, device.malformed_chains), (0, 0));
}

fn many_connections_at_once() {
    let vm = serving(&hypervisor(), &config());
    let mut counts: Vec<u32> = thread::scope(|scope| {
        let clients: Vec<_> = (0..64)
            .map(|_| scope.spawn(|| request(&vm, "/count").parse().unwrap()))
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    counts.sort_unstable();
    assert_eq!(counts, (1..=64).collect::<Vec<_>>());
    let net = vm.net().unwrap();
    assert_eq!(net.counts().connections_opened, 64);
    eventually("closed connections are forgotten", || net.connections() == 0);
}

fn a_spare_connection_needs_no_handshake() {
    let mut vm = serving(&hypervisor(), &with_net(UserNetConfig::default().spare(HTTP, 2)));
    let net = vm.net().unwrap().clone();
    net.refill_spares();
    eventually("spares are ready", || net.spares_ready());
    assert!(net.spares_event().read().unwrap() >= 1);
    assert_eq!(net.counts().connections_opened, 2);
    assert_eq!(net.connections(), 0);

    let mut stream = connect(&vm);
    assert_eq!(get(&mut stream, "/count"), "1");
    assert_eq!(net.connections(), 1);
    assert_eq!(net.counts().spares_used, 1);
    eventually("the used spare is replaced", || net.spares_ready());
    // One handshake for the replacement and none for the request.
    assert_eq!(net.counts().connections_opened, 3);
    settle(&mut vm);
}

fn a_closed_port_refuses() {
    let vm = serving(&hypervisor(), &config());
    let net = vm.net().unwrap();
    let mut stream = net.connect(81).unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
    assert_eq!(net.counts().connections_refused, 1);
    assert_eq!(request(&vm, "/count"), "1");
}

fn connections_have_a_limit() {
    let vm = serving(
        &hypervisor(),
        &with_net(UserNetConfig::default().max_connections(2)),
    );
    let net = vm.net().unwrap();
    let (first, _second) = (connect(&vm), connect(&vm));
    let error = net.connect(HTTP).unwrap_err();
    assert!(
        matches!(error, ConnectError::Full { port: HTTP, limit: 2 }),
        "{error}"
    );
    drop(first);
    eventually("a closed connection makes room", || net.connect(HTTP).is_ok());
}

fn ends(stream: &mut impl Read) -> bool {
    match stream.read(&mut [0; 16]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn streams_end_when_the_guest_stops() {
    let vm = serving(&hypervisor(), &config());
    let (mut idle, mut doomed) = (connect(&vm), connect(&vm));
    assert_eq!(get(&mut idle, "/count"), "1");
    ask(&mut doomed, "/crash");
    wait_stop(&vm.handle());
    assert!(ends(&mut doomed));
    assert!(ends(&mut idle));
    assert!(vm.net().unwrap().connect(HTTP).is_err());
}

fn streams_end_with_the_vm() {
    let vm = serving(&hypervisor(), &config());
    let net = vm.net().unwrap().clone();
    let mut stream = connect(&vm);
    assert_eq!(get(&mut stream, "/count"), "1");
    drop(vm);
    assert!(ends(&mut stream));
    // A handle outlives what it is for, and says so.
    assert_ne!(net.counts(), UserNetCounts::default());
    assert!(matches!(
        net.connect(HTTP),
        Err(ConnectError::Detached { port: HTTP })
    ));
}

fn early_connections_are_served_or_refused() {
    let vm = Vm::boot(&hypervisor(), &config(), guest::ELF).unwrap();
    let mut early = connect(&vm);
    vm.start().unwrap();
    // The driver runs before the server listens, so that a refusal is as good as an answer; silence is not.
    ask(&mut early, "/count");
    let mut answer = [0; 8];
    let read = early.read(&mut answer).unwrap();
    assert!(read == 0 || answer.starts_with(b"HTTP"), "{answer:?}");
    vm.handle().wait_mark(MARK_SERVING, PATIENCE).unwrap();
    request(&vm, "/count");
}
