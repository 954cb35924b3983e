//! Heads that come in pieces while their target sleeps.

use std::time::Duration;

use proxy_buffer::{Limits, TargetState, TcpOptions};
use tokio::io::AsyncWriteExt;

use crate::{
    pipes::{Room, drip_until, pass, read, rest},
    world::{expect, http},
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const EMPTY: &str = "HTTP/1.1 204 No Content\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_head_that_drips_in_wakes_its_target_once_and_when_it_is_complete() {
    let mut room = Room::http();
    let mut client = room.client();
    let (drops, last) = GET.split_at(GET.len() - 1);
    for drop in drops.bytes() {
        pass(1).await;
        client.write_all(&[drop]).await.unwrap();
    }
    pass(1).await;
    assert_eq!(room.log.count("started"), 0, "{:?}", room.log.all());
    assert_eq!(room.target.state(), TargetState::Asleep);
    client.write_all(last.as_bytes()).await.unwrap();
    let mut backend = room.accepted().await;
    read(&mut backend, GET).await;
    assert_eq!(room.log.count("started"), 1);
    assert_eq!(room.proxy.held_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_a_408_and_wakes_nothing() {
    let room = Room::http();
    let mut client = room.client();
    let head = GET.bytes().take(20).chain(std::iter::repeat(b'x'));
    let body = drip_until(&mut client, head, 408).await;
    assert!(
        body.contains("its head was not complete after 30000 ms"),
        "{body}"
    );
    assert_eq!(room.seconds(), 34);
    drop(client);
    room.assert_forgotten().await;
    assert_eq!((room.log.count("started"), room.proxy.held_bytes()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_fits_no_bound_is_a_431_and_wakes_nothing() {
    let limits = Limits {
        held_bytes_per_connection: 8000,
        ..Limits::default()
    };
    let room = Room::new(limits, http());
    let (mut reader, mut writer) = tokio::io::split(room.client());
    let head = format!("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(8000));
    let write = writer.write_all(head.as_bytes());
    let (_, body) = tokio::join!(write, expect(&mut reader, 431));
    assert!(body.contains("its head is longer than 8000 bytes"), "{body}");
    drop((reader, writer));
    room.assert_forgotten().await;
    assert_eq!((room.log.count("started"), room.proxy.held_bytes()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn half_a_head_whose_client_leaves_or_whose_proxy_drains_wakes_nothing() {
    let room = Room::http();
    let mut client = room.client();
    client.write_all(b"GET / HT").await.unwrap();
    pass(1).await;
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, "");
    room.assert_forgotten().await;

    let mut client = room.client();
    client.write_all(b"GET / HT").await.unwrap();
    pass(1).await;
    let proxy = room.proxy.clone();
    let drained = tokio::spawn(async move { proxy.drain(Duration::from_secs(10)).await });
    expect(&mut client, 503).await;
    drop(client);
    assert_eq!(drained.await.unwrap().refused, 1);
    assert_eq!((room.log.count("started"), room.proxy.held_bytes()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn empty_lines_are_no_request_and_wake_nothing() {
    let mut room = Room::http();
    let mut client = room.client();
    let mut backend = None;
    for wakes in 0..3 {
        for line in ["\r\n", "\n\r\n", "\r", "\n"] {
            client.write_all(line.as_bytes()).await.unwrap();
            pass(40).await;
        }
        assert_eq!(room.target.state(), TargetState::Asleep);
        assert_eq!(room.log.count("busy"), wakes, "{:?}", room.log.all());
        // The rest of one that was cut goes its way, too.
        client.write_all(b"\r").await.unwrap();
        pass(1).await;
        client
            .write_all(["\n\r\n", GET].concat().as_bytes())
            .await
            .unwrap();
        let backend = match &mut backend {
            Some(backend) => backend,
            None => backend.insert(room.accepted().await),
        };
        read(backend, GET).await;
        backend.write_all(EMPTY.as_bytes()).await.unwrap();
        read(&mut client, EMPTY).await;
        room.log.until("quiet", wakes + 1).await;
        client.write_all(b"\r\n").await.unwrap();
        pass(1).await;
        assert_eq!(room.log.count("busy"), wakes + 1, "nor do they keep it awake");
        room.target.try_park(Duration::from_secs(1)).unwrap().parked();
    }
    // Those that come with a request are left to the target.
    room.connected(&["\r\n", GET].concat()).await;
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_head_wake_at_once() {
    let proxied = "\r\n\r\n\0\r\nQUIT\n";
    for (options, said) in [
        (TcpOptions::default(), "G"),
        (TcpOptions::default(), "\r\n"),
        (http(), "\u{16}\u{3}\u{1}"),
        (http(), proxied),
    ] {
        let mut room = Room::new(Limits::default(), options);
        room.connected(said).await;
        assert_eq!(room.log.count("started"), 1);
    }
}
