//! Connections that are open at a pause go on after the restore, byte for byte.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use vmm_core::DetachedStreams;

use crate::common::{
    HTTP, PATIENCE, Random, Test, WAYS, ask, config, connect, eventually, get, hypervisor, read_response,
    restore, save, serving,
};

pub(crate) const TESTS: &[Test] = &[
    (
        "conversations_go_on_where_they_were",
        conversations_go_on_where_they_were,
    ),
    (
        "bytes_written_while_asleep_are_answered",
        bytes_written_while_asleep_are_answered,
    ),
    (
        "streams_closed_while_asleep_are_closed",
        streams_closed_while_asleep_are_closed,
    ),
    (
        "streams_can_be_handed_on_one_by_one",
        streams_can_be_handed_on_one_by_one,
    ),
];

/// Some bytes that differ everywhere.
fn pattern(len: usize) -> Vec<u8> {
    let mut random = Random::new(7);
    (0..len.div_ceil(4))
        .flat_map(|_| random.word().to_le_bytes())
        .take(len)
        .collect()
}

/// Writes until nothing more is taken; answers how much was.
fn fill(stream: &mut UnixStream, bytes: &[u8]) -> usize {
    stream.set_nonblocking(true).unwrap();
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(len) => written += len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    stream.set_nonblocking(false).unwrap();
    written
}

fn conversations_go_on_where_they_were() {
    let hypervisor = hypervisor();
    let mut vm = serving(&hypervisor, &config());
    // One has sent half of a request, one has a response of a MiB under way and half of its body unsent, one is idle.
    let (mut half, mut flowing, mut idle) = (connect(&vm), connect(&vm), connect(&vm));
    half.write_all(b"GET /count HTT").unwrap();
    let body = pattern(1 << 20);
    write!(
        flowing,
        "POST /echo HTTP/1.1\r\nHost: guest\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    let mut sent = fill(&mut flowing, &body);
    assert!(sent < body.len());
    ask(&mut idle, "/count");
    assert_eq!(read_response(&mut idle), b"1");

    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        flowing.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    let mut echoed = Vec::new();
    for way in WAYS {
        let (saved, streams) = save(vm);
        assert_eq!(streams.len(), 3);
        vm = restore(way, &hypervisor, &config(), &saved, streams);
        sent += fill(&mut flowing, &body[sent..]);
        let mut part = vec![0; 100_000];
        flowing.read_exact(&mut part).unwrap();
        echoed.extend(part);
    }
    half.write_all(b"P/1.1\r\nHost: guest\r\n\r\n").unwrap();
    assert_eq!(read_response(&mut half), b"2");
    let mut sender = flowing.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| sender.write_all(&body[sent..]).unwrap());
        let mut rest = vec![0; body.len() - echoed.len()];
        flowing.read_exact(&mut rest).unwrap();
        echoed.extend(rest);
    });
    assert!(echoed == body, "what came back is not what was sent");
    for (stream, count) in [(&mut flowing, "3"), (&mut idle, "4"), (&mut half, "5")] {
        assert_eq!(get(stream, "/count"), count);
    }
    assert_eq!(
        vm.net().unwrap().counts().connections_opened,
        0,
        "since the last restore"
    );
}

fn bytes_written_while_asleep_are_answered() {
    let hypervisor = hypervisor();
    let mut vm = serving(&hypervisor, &config());
    let mut stream = connect(&vm);
    for n in 1..=6 {
        let (saved, streams) = save(vm);
        ask(&mut stream, "/count");
        vm = restore(WAYS[n % 3], &hypervisor, &config(), &saved, streams);
        assert_eq!(read_response(&mut stream), n.to_string().as_bytes());
    }
}

fn streams_closed_while_asleep_are_closed() {
    let hypervisor = hypervisor();
    let vm = serving(&hypervisor, &config());
    let (mut leaving, mut staying) = (connect(&vm), connect(&vm));
    for stream in [&mut leaving, &mut staying] {
        get(stream, "/");
    }
    let (saved, streams) = save(vm);
    drop(leaving);
    let vm = restore(WAYS[2], &hypervisor, &config(), &saved, streams);
    assert_eq!(get(&mut staying, "/count"), "1");
    eventually("the closed stream's connection ends", || {
        vm.net().unwrap().connections() == 1
    });
}

fn streams_can_be_handed_on_one_by_one() {
    let hypervisor = hypervisor();
    let mut vm = serving(&hypervisor, &config());
    let mut open = connect(&vm);
    get(&mut open, "/");
    // Asked for while nothing runs: it is among those that wait.
    vm.pause().unwrap();
    let mut waiting = vm.net().unwrap().connect(HTTP).unwrap();
    ask(&mut waiting, "/count");
    let (saved, mut streams) = save(vm);

    let mut passed = DetachedStreams::default();
    for (id, stream) in streams.take_streams() {
        passed.insert(id, stream);
    }
    for (port, stream) in streams.take_waiting() {
        assert_eq!(port, HTTP);
        passed.insert_waiting(port, stream);
    }
    assert!(streams.is_empty());
    assert_eq!(passed.len(), 2);
    let vm = restore(WAYS[2], &hypervisor, &config(), &saved, passed);
    waiting.set_nonblocking(false).unwrap();
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(read_response(&mut waiting), b"1");
    assert_eq!(get(&mut open, "/count"), "2");
    assert_eq!(vm.net().unwrap().connections(), 2);
}
