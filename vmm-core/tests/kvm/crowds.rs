//! More clients than the demo guest has room for: who must go, and who is served.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use vmm_core::Vm;

use crate::common::{
    HTTP, MIB, Test, ask, config, connect, eventually, get, hypervisor, read_response, request, serving,
    settle,
};

pub(crate) const TESTS: &[Test] = &[
    (
        "silent_clients_make_room_for_new_ones",
        silent_clients_make_room_for_new_ones,
    ),
    (
        "clients_with_work_under_way_keep_their_place",
        clients_with_work_under_way_keep_their_place,
    ),
    (
        "what_is_no_request_is_refused_at_once",
        what_is_no_request_is_refused_at_once,
    ),
    ("the_last_answer_is_heard", the_last_answer_is_heard),
];

/// The most connections of the demo guest, and some more.
const CROWD: usize = 512 + 88;

/// A guest that is full before memory is.
fn roomy() -> Vm {
    serving(&hypervisor(), &config().memory_bytes(64 * MIB))
}

/// `count` connections that the guest knows of and has answered as much as it will.
fn crowd(vm: &mut Vm, count: usize, words: &[u8]) -> Vec<UnixStream> {
    let streams: Vec<_> = (0..count)
        .map(|_| {
            let mut stream = connect(vm);
            stream.write_all(words).unwrap();
            stream
        })
        .collect();
    settle(vm);
    streams
}

/// Whether the guest has ended the connection, without a word.
fn has_ended(stream: &mut UnixStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let ended = match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    };
    stream.set_nonblocking(false).unwrap();
    ended
}

fn silent_clients_make_room_for_new_ones() {
    let mut vm = roomy();
    // The one that has been silent longest is one that was served.
    let mut first = connect(&vm);
    assert_eq!(get(&mut first, "/count"), "1");
    let mut silent = crowd(&mut vm, CROWD, b"");
    // Nobody waits, and nothing is left to do: the instance may sleep.
    assert_eq!(request(&vm, "/count"), "2");
    settle(&mut vm);
    assert!(has_ended(&mut first), "the oldest has not made room");
    let ended = silent
        .iter_mut()
        .filter_map(|stream| has_ended(stream).then_some(()))
        .count();
    assert!(
        (CROWD - 512..=CROWD - 510).contains(&ended),
        "{ended} of {CROWD} have made room"
    );
    assert!(silent[..ended].iter_mut().all(has_ended), "the oldest ones");
    let youngest = silent.last_mut().unwrap();
    assert_eq!(get(youngest, "/count"), "3");
}

fn clients_with_work_under_way_keep_their_place() {
    const BEGUN: &[u8] = b"GET /count HTTP/1.1\r\nHost: guest\r\n";
    let mut vm = roomy();
    let mut busy = crowd(&mut vm, 512, BEGUN);
    let mut refused = connect(&vm);
    eventually("one more is refused", || has_ended(&mut refused));
    assert_eq!(vm.net().unwrap().counts().connections_refused, 1);
    for stream in &mut busy {
        stream.write_all(b"\r\n").unwrap();
        read_response(stream);
    }
    // Now that they are settled, one makes room.
    assert_eq!(request(&vm, "/count"), "513");
    settle(&mut vm);
}

fn what_is_no_request_is_refused_at_once() {
    let vm = serving(&hypervisor(), &config());
    for start in [
        &b"\x16\x03\x01\x02"[..],
        b"\0",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\r\nHost: a\n",
    ] {
        let mut stream = vm.net().unwrap().connect(HTTP).unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(crate::common::PATIENCE)).unwrap();
        stream.write_all(start).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{reply:?}");
    }
}

fn the_last_answer_is_heard() {
    for _ in 0..20 {
        let vm = serving(&hypervisor(), &config());
        let mut stream = connect(&vm);
        for _ in 0..50 {
            ask(&mut stream, "/count");
        }
        ask(&mut stream, "/exit");
        for number in 1..=50 {
            assert_eq!(read_response(&mut stream), number.to_string().into_bytes());
        }
        assert_eq!(read_response(&mut stream), b"bye\n");
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
}
