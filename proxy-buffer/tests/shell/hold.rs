//! Hold, wake once, release.

use std::time::Duration;

use proxy_buffer::{Limits, TargetState, TcpOptions, WakeOn};
use tokio::io::AsyncWriteExt;

use crate::world::{World, ask, expect, guest, http, reset, rest};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_clients_at_once_cause_one_activation_and_all_are_answered() {
    let world = World::asleep().await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = world.asking("/").await;
        clients.push(tokio::spawn(async move { expect(&mut client, 200).await }));
    }
    world.log.until("held", 100).await;
    assert_eq!(world.target.state(), TargetState::Waking);
    world.allow_wakes(1);
    for client in clients {
        assert_eq!(client.await.unwrap(), "hello");
    }
    assert_eq!(world.log.count("activate"), 1);
    assert_eq!(world.counters().released, 100);
    world.assert_nothing_held();
}

#[tokio::test]
async fn a_client_that_says_nothing_wakes_nothing() {
    let world = World::awake_on_demand().await;
    let silent = world.client().await;
    world.log.until("opened", 1).await;
    drop(silent);
    world.log.until("closed", 1).await;
    assert_eq!(world.log.count("started"), 0);
    assert_eq!(world.target.state(), TargetState::Asleep);
}

#[tokio::test]
async fn a_connection_wakes_a_target_whose_server_speaks_first() {
    let world = World::new(
        Limits::default(),
        TcpOptions {
            wake_on: WakeOn::Accept,
            ..http()
        },
    )
    .await;
    let mut silent = world.client().await;
    world.log.until("held", 1).await;
    world.allow_wakes(1);
    world.log.until("released", 1).await;
    ask(&mut silent, "/", b"").await;
    assert_eq!(expect(&mut silent, 200).await, "hello");
}

#[tokio::test]
async fn the_last_client_that_leaves_cancels_the_wake() {
    let world = World::asleep().await;
    let (first, second) = (world.asking("/").await, world.asking("/").await);
    world.log.until("held", 2).await;
    reset(first);
    world.log.until("left", 1).await;
    assert_eq!(world.log.count("cancelled"), 0);
    assert_eq!(world.target.state(), TargetState::Waking);
    reset(second);
    world.log.until("future dropped", 1).await;
    assert_eq!((world.log.count("left"), world.log.count("cancelled")), (2, 1));
    assert_eq!(world.target.state(), TargetState::Asleep);
    world.assert_nothing_held();

    let mut next = world.asking("/").await;
    world.allow_wakes(1);
    expect(&mut next, 200).await;
    assert_eq!(world.log.count("activate"), 2);
}

#[tokio::test]
async fn a_client_that_half_closes_while_held_is_answered() {
    let world = World::asleep().await;
    let mut client = world.asking("/").await;
    client.shutdown().await.unwrap();
    world.log.until("held", 1).await;
    world.allow_wakes(1);
    assert_eq!(expect(&mut client, 200).await, "hello");
    assert_eq!(rest(&mut client).await, b"");
    world.log.until("closed", 1).await;
}

#[tokio::test]
async fn a_client_is_held_up_to_its_limit_and_then_by_tcp() {
    let limits = Limits {
        held_bytes_per_connection: 10_000,
        ..Limits::default()
    };
    let world = World::new(limits, http()).await;
    let mut client = world.client().await;
    let body = vec![7; 8 * 1024 * 1024];
    let upload = tokio::spawn({
        let body = body.clone();
        async move {
            ask(&mut client, "/echo", &body).await;
            client
        }
    });
    // What it has sent fills its limit; that needs no event, because it is all there is to read.
    world.log.until("held", 1).await;
    while world.counters().held_bytes < 10_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        (world.counters().held_bytes, world.proxy.held_bytes()),
        (10_000, 10_000)
    );
    assert!(!upload.is_finished(), "8 MiB went somewhere");
    world.allow_wakes(1);
    let mut client = upload.await.unwrap();
    let (_, echo) = crate::world::answer(&mut client).await.unwrap();
    assert_eq!(echo.len(), body.len());
    assert!(echo == body, "bytes were changed");
    world.assert_nothing_held();
}

#[tokio::test]
async fn bytes_that_arrive_in_pieces_while_held_keep_their_order() {
    let world = World::asleep().await;
    let mut client = world.client().await;
    for piece in [
        "GET /echo HTTP/1.1\r\nHost: gu",
        "est\r\nContent-Len",
        "gth: 6\r\n\r\nabc",
        "def",
    ] {
        client.write_all(piece.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    // From its complete head on.
    world.log.until("held", 1).await;
    world.allow_wakes(1);
    assert_eq!(expect(&mut client, 200).await, "abcdef");
}

#[tokio::test]
async fn a_full_queue_refuses_with_503_and_keeps_who_waits() {
    let world = World::new(
        Limits {
            held_connections: 1,
            ..Limits::default()
        },
        http(),
    )
    .await;
    let mut first = world.asking("/").await;
    world.log.until("held", 1).await;
    let mut second = world.asking("/").await;
    let body = expect(&mut second, 503).await;
    assert!(
        body.contains("1 already wait for the target, the limit is 1"),
        "{body}"
    );
    assert_eq!(rest(&mut second).await, b"");
    world.allow_wakes(1);
    expect(&mut first, 200).await;
}

#[tokio::test]
async fn full_byte_limits_refuse_newcomers_only_while_asleep() {
    let limits = Limits {
        held_bytes_per_connection: 60,
        held_bytes_per_target: 90,
        held_bytes_total: 100,
        ..Limits::default()
    };
    let world = World::new(limits, http()).await;
    let mut first = world.asking("/").await;
    world.log.until("held", 1).await;
    let mut second = world.asking("/").await;
    let body = expect(&mut second, 503).await;
    assert!(body.contains("bytes per"), "{body}");
    world.allow_wakes(1);
    expect(&mut first, 200).await;
    let mut third = world.asking("/").await;
    expect(&mut third, 200).await;
    world.assert_nothing_held();
}

#[tokio::test]
async fn connections_above_the_limit_are_refused() {
    let world = World::new(
        Limits {
            connections_per_target: 1,
            hold_time: Duration::from_millis(50),
            ..Limits::default()
        },
        http(),
    )
    .await;
    world.allow_wakes(1);
    let first = world.asking("/hang").await;
    world.log.until("busy", 1).await;
    let mut second = world.asking("/").await;
    let body = expect(&mut second, 503).await;
    assert!(body.contains("the target already has its limit of 1"), "{body}");
    reset(first);
    drop(second);
    world.log.until("closed", 2).await;
    expect(&mut world.asking("/").await, 200).await;
}

#[tokio::test]
async fn another_guest_is_used_after_the_next_wake() {
    let world = World::awake_on_demand().await;
    expect(&mut world.asking("/").await, 200).await;
    world.log.until("quiet", 1).await;
    world.park();
    world.replace_guest(guest().await);
    expect(&mut world.asking("/").await, 200).await;
    assert_eq!(world.log.count("activate"), 2);
}
