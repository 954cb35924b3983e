//! More clients than may be connected: who is silent makes room, and who is not is waited for.

use std::time::Duration;

use proxy_buffer::{Limits, TcpOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    pipes::{Room, pass, read, rest},
    world::{World, connect, expect, http},
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn at_most(per_target: usize, total: usize) -> Limits {
    Limits {
        connections_per_target: per_target,
        connections_total: total,
        ..Limits::default()
    }
}

async fn tick() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_has_been_silent_for_longest_makes_room() {
    for limits in [at_most(3, 100), at_most(100, 3)] {
        let mut room = Room::new(limits, http());
        let (mut asked, mut backend) = room.connected(GET).await;
        let mut first = room.client();
        pass(1).await;
        let mut second = room.client();
        pass(1).await;
        // The one that asked is quiet since now, which is shorter than the others.
        backend.write_all(HELLO.as_bytes()).await.unwrap();
        read(&mut asked, HELLO).await;
        pass(1).await;

        let _third = room.client();
        assert_eq!(rest(&mut first).await, "");
        pass(1).await;
        let mut fourth = room.client();
        assert_eq!(rest(&mut second).await, "");
        pass(1).await;
        let _fifth = room.client();
        assert_eq!(rest(&mut asked).await, "");
        assert_eq!(rest(&mut backend).await, "", "its stream is closed too");
        assert_eq!(room.log.count("made room"), 3);

        // Who has made no room is served as ever.
        fourth.write_all(GET.as_bytes()).await.unwrap();
        let mut backend = room.accepted().await;
        read(&mut backend, GET).await;
        assert!(room.refusals().is_empty(), "{:?}", room.refusals());
    }
}

#[tokio::test(start_paused = true)]
async fn half_heads_make_room_like_silence_asleep_and_awake() {
    for awake in [false, true] {
        let mut room = Room::new(at_most(4, 100), http());
        if awake {
            room.wake().await;
        }
        let mut clients: Vec<_> = (0..4).map(|_| room.client()).collect();
        let (half, rest_of_head) = GET.split_at(9);
        for client in clients.iter_mut().skip(1) {
            pass(1).await;
            client.write_all(half.as_bytes()).await.unwrap();
        }
        pass(1).await;
        // Who gets on is silent since then.
        clients[1].write_all(&rest_of_head.as_bytes()[..5]).await.unwrap();
        pass(1).await;
        let mut newcomers = Vec::new();
        for evicted in [0, 2, 3] {
            newcomers.push(room.client());
            assert_eq!(rest(&mut clients[evicted]).await, "", "{:?}", room.log.all());
            pass(1).await;
        }
        assert_eq!(room.log.count("made room"), 3);
        assert!(room.refusals().is_empty(), "{:?}", room.refusals());
        // Who was spared is served.
        clients[1].write_all(&rest_of_head.as_bytes()[5..]).await.unwrap();
        let mut asked = vec![0; GET.len()];
        let mut backend = room.accepted().await;
        // Awake, the others had streams, too.
        while backend.read_exact(&mut asked).await.is_err() {
            backend = room.accepted().await;
        }
        assert_eq!(asked, GET.as_bytes());
        backend.write_all(HELLO.as_bytes()).await.unwrap();
        read(&mut clients[1], HELLO).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_of_one_that_is_to_leave_does_not_reach_its_target() {
    let mut room = Room::new(at_most(1, 100), http());
    let (mut client, mut backend) = room.connected(GET).await;
    backend.write_all(HELLO.as_bytes()).await.unwrap();
    read(&mut client, HELLO).await;
    pass(1).await;
    // Both are there when the proxy looks.
    let _newcomer = room.client();
    client.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(rest(&mut client).await, "");
    assert_eq!(rest(&mut backend).await, "");
    assert_eq!(room.log.count("made room"), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_has_just_fallen_silent_is_spared_for_a_moment() {
    let mut room = Room::new(at_most(1, 100), http());
    let mut first = room.client();
    tick().await;
    let mut second = room.client();
    second.write_all(GET.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(90)).await;
    // In time: it is served, and the second goes on waiting.
    first.write_all(GET.as_bytes()).await.unwrap();
    let mut backend = room.accepted().await;
    read(&mut backend, GET).await;
    pass(5).await;
    assert_eq!(room.log.count("made room"), 0);
    backend.write_all(HELLO.as_bytes()).await.unwrap();
    read(&mut first, HELLO).await;
    let mut backend = room.accepted().await;
    read(&mut backend, GET).await;
    assert_eq!(rest(&mut first).await, "");
    assert_eq!((room.seconds(), room.log.count("made room")), (5, 1));
}

#[tokio::test(start_paused = true)]
async fn who_is_not_silent_makes_no_room_and_newcomers_are_refused_in_the_end() {
    let mut room = Room::new(at_most(3, 100), http());
    let (_busy, _backend) = room.connected(GET).await;
    let (_body, _other) = room
        .connected("PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
        .await;
    let (mut upgraded, mut backend) = room.connected(GET).await;
    let switched = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
    backend.write_all(switched.as_bytes()).await.unwrap();
    read(&mut upgraded, switched).await;
    pass(10).await;
    let mut late = room.client();
    let (mut reader, _writer) = tokio::io::split(room.client());
    let refused = expect(&mut reader, 503).await;
    assert!(refused.contains("already has its limit of 3"), "{refused}");
    expect(&mut late, 503).await;
    // The last seat was given out at the beginning.
    assert_eq!(room.seconds(), 30);
    // (The body is late at the same moment, and its place is free from then on.)
    assert_eq!(room.log.count("made room"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_raw_stream_makes_room_only_before_its_first_byte() {
    let mut room = Room::new(at_most(2, 100), TcpOptions::default());
    let (mut spoken, mut backend) = room.connected("hello").await;
    backend.write_all(b"hello").await.unwrap();
    read(&mut spoken, "hello").await;
    pass(1).await;
    let mut silent = room.client();
    pass(1).await;
    let _third = room.client();
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(room.log.count("made room"), 1);
    spoken.write_all(b"again").await.unwrap();
    read(&mut backend, "again").await;
}

#[tokio::test(start_paused = true)]
async fn more_than_can_wait_are_dropped_and_a_drain_refuses_who_waits() {
    let mut room = Room::new(at_most(1, 100), http());
    let (_busy, _backend) = room.connected(GET).await;
    let mut waiting: Vec<_> = (0..32).map(|_| room.client()).collect();
    assert_eq!(rest(&mut room.client()).await, "");
    assert_eq!(room.refusals().len(), 1);
    let proxy = room.proxy.clone();
    let drained = tokio::spawn(async move { proxy.drain(Duration::from_secs(1)).await });
    for client in &mut waiting {
        expect(client, 503).await;
    }
    drop(waiting);
    drained.await.unwrap();
    room.assert_forgotten().await;
}

#[tokio::test]
async fn newcomers_wait_in_the_backlog_until_a_busy_one_has_ended() {
    let limits = Limits {
        silence_time: Duration::ZERO,
        ..at_most(2, 100)
    };
    let world = World::new(limits, http()).await;
    world.allow_wakes(1);
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let addr = world.addr;
        crowd.spawn(async move {
            let mut client = connect(addr).await;
            // Not silent for a moment: its request is there when it is accepted, or it is told with an end to come again.
            let _ = client
                .write_all(b"GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
                .await;
            let mut answer = Vec::new();
            let mut byte = [0];
            while !answer.ends_with(b"hello") && client.read(&mut byte).await.unwrap_or(0) > 0 {
                answer.push(byte[0]);
            }
            String::from_utf8(answer).unwrap()
        });
    }
    let answers = crowd.join_all().await;
    let refused = answers.iter().filter(|answer| answer.contains(" 503 ")).count();
    let served = answers.iter().filter(|answer| answer.contains(" 200 ")).count();
    assert_eq!(refused, 0);
    assert!(served >= 2, "{answers:?}");
    world.log.until("closed", 50).await;
}

#[tokio::test(start_paused = true)]
async fn as_many_make_room_as_newcomers_came() {
    let room = Room::new(at_most(100, 100), http());
    let _silent: Vec<_> = (0..100).map(|_| room.client()).collect();
    pass(1).await;
    let _newcomers: Vec<_> = (0..30).map(|_| room.client()).collect();
    pass(1).await;
    assert_eq!(room.log.count("made room"), 30);
    assert_eq!(room.target.counters().connections, 100);
}
