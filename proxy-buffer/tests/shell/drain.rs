//! Ending in order.

use std::time::Duration;

use proxy_buffer::{Limits, TcpOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    pipes::{Room, pass, read},
    world::{World, ask, expect, http, reset, rest},
};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_idle_proxy_drains_at_once_and_accepts_no_more() {
    let world = World::awake_on_demand().await;
    let mut silent = world.client().await;
    let mut quiet = world.asking("/").await;
    expect(&mut quiet, 200).await;
    world.log.until("opened", 2).await;
    let report = world.proxy.drain(LONG).await;
    assert_eq!((report.finished, report.refused, report.aborted), (2, 0, 0));
    assert_eq!(rest(&mut silent).await, b"");
    assert_eq!(rest(&mut quiet).await, b"");
    assert!(TcpStream::connect(world.addr).await.is_err());
}

#[tokio::test]
async fn who_waits_is_carried_to_its_answer() {
    let world = World::asleep().await;
    let mut waiting = world.asking("/").await;
    world.log.until("held", 1).await;
    let proxy = world.proxy.clone();
    let drain = tokio::spawn(async move { proxy.drain(LONG).await });
    tokio::task::yield_now().await;
    world.allow_wakes(1);
    assert_eq!(expect(&mut waiting, 200).await, "hello");
    assert_eq!(rest(&mut waiting).await, b"");
    let report = drain.await.unwrap();
    assert_eq!((report.finished, report.refused, report.aborted), (1, 0, 0));
}

#[tokio::test]
async fn the_deadline_refuses_who_waits_and_cuts_off_who_is_inside() {
    let world = World::asleep().await;
    world.allow_wakes(1);
    let mut inside = world.asking("/hang").await;
    world.log.until("released", 1).await;
    let report = world.proxy.drain(Duration::from_millis(20)).await;
    assert_eq!((report.finished, report.refused, report.aborted), (0, 0, 1));
    assert_eq!(rest(&mut inside).await, b"");

    let world = World::asleep().await;
    let mut waiting = world.asking("/").await;
    world.log.until("held", 1).await;
    let drain = tokio::spawn({
        let proxy = world.proxy.clone();
        async move { proxy.drain(Duration::from_millis(20)).await }
    });
    let body = expect(&mut waiting, 503).await;
    assert!(body.contains("draining"), "{body}");
    assert_eq!(rest(&mut waiting).await, b"");
    drop(waiting);
    let report = drain.await.unwrap();
    assert_eq!((report.finished, report.refused, report.aborted), (0, 1, 0));
    assert_eq!(world.log.count("future dropped"), 1);
}

#[tokio::test]
async fn newcomers_are_refused_while_it_drains() {
    let world = World::asleep().await;
    world.allow_wakes(1);
    let hanging = world.asking("/hang").await;
    world.log.until("released", 1).await;
    let drain = tokio::spawn({
        let proxy = world.proxy.clone();
        async move { proxy.drain(LONG).await }
    });
    tokio::task::yield_now().await;
    let (mut client, server) = tokio::io::duplex(1024);
    ask(&mut client, "/", b"").await;
    world
        .proxy
        .serve_connection(server, &world.target, world.options.clone());
    let body = expect(&mut client, 503).await;
    assert!(body.contains("draining"), "{body}");
    drop(client);
    reset(hanging);
    let report = drain.await.unwrap();
    assert_eq!((report.finished, report.refused, report.aborted), (1, 1, 0));
}

#[tokio::test]
async fn a_drained_target_does_not_stay_in_the_proxy() {
    let world = World::asleep().await;
    assert!(!world.proxy.forget(&"guest"), "its listener is there");
    let key = *world.target.key();
    world.proxy.drain(LONG).await;
    assert!(!world.proxy.forget(&key), "its handle is there");
    let World { proxy, target, .. } = world;
    drop(target);
    assert!(proxy.forget(&key));
}

#[tokio::test]
async fn the_deadline_cuts_off_an_answer_so_that_it_does_not_look_complete() {
    let world = World::awake_on_demand().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.replace_guest(listener.local_addr().unwrap());
    let mut client = world.asking("/").await;
    let (mut backend, _) = listener.accept().await.unwrap();
    let begun = b"HTTP/1.0 200 OK\r\n\r\nhalf";
    backend.write_all(begun).await.unwrap();
    client.read_exact(&mut vec![0; begun.len()]).await.unwrap();
    let report = world.proxy.drain(Duration::from_millis(20)).await;
    assert_eq!((report.finished, report.refused, report.aborted), (0, 0, 1));
    let error = client.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_time_without_end_leaves_connections_to_the_deadline() {
    let options = TcpOptions {
        drain_quiet: Duration::MAX,
        ..http()
    };
    let mut room = Room::new(Limits::default(), options);
    let (mut client, mut backend) = room.connected("GET / HTTP/1.1\r\n\r\n").await;
    let proxy = room.proxy.clone();
    let drain = tokio::spawn(async move { proxy.drain(LONG).await });
    pass(1).await;
    let answer = "HTTP/1.1 204 No Content\r\n\r\n";
    backend.write_all(answer.as_bytes()).await.unwrap();
    read(&mut client, answer).await;
    let report = drain.await.unwrap();
    assert_eq!((report.finished, report.refused, report.aborted), (0, 0, 1));
    assert_eq!(room.seconds(), 60);
}
