//! What clients are told when something breaks.

use std::time::Duration;

use proxy_buffer::{Limits, Protocol, TargetState, TcpOptions};
use tokio::{io::AsyncReadExt, net::TcpListener};

use crate::{
    pipes::Room,
    world::{World, answer, ask, expect, guest, http, reset, rest},
};

#[tokio::test]
async fn a_failed_wake_tells_every_waiter_and_the_next_request_tries_again() {
    let world = World::asleep().await;
    world.fail_next("no node has 128 MiB free");
    let mut clients = [
        world.asking("/").await,
        world.asking("/").await,
        world.asking("/").await,
    ];
    world.log.until("held", 3).await;
    world.allow_wakes(1);
    for client in &mut clients {
        let body = expect(client, 503).await;
        assert!(body.contains("no node has 128 MiB free"), "{body}");
        assert_eq!(rest(client).await, b"");
    }
    assert_eq!(world.target.state(), TargetState::Asleep);
    world.allow_wakes(1);
    expect(&mut world.asking("/").await, 200).await;
}

#[tokio::test]
async fn a_backend_that_closes_without_an_answer_is_a_502() {
    let world = World::awake_on_demand().await;
    let mut client = world.asking("/die").await;
    let body = expect(&mut client, 502).await;
    assert!(
        body.contains("closed the connection before its first byte"),
        "{body}"
    );
    assert_eq!(rest(&mut client).await, b"");
    expect(&mut world.asking("/").await, 200).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_followed_by_an_error_page() {
    let world = World::awake_on_demand().await;
    let mut client = world.asking("/half").await;
    let all = rest(&mut client).await;
    assert!(
        all.ends_with(b"\r\n\r\nhalf"),
        "{}",
        String::from_utf8_lossy(&all)
    );
}

#[tokio::test]
async fn a_later_request_on_the_connection_is_told_as_well() {
    let world = World::awake_on_demand().await;
    let mut client = world.asking("/").await;
    expect(&mut client, 200).await;
    ask(&mut client, "/die", b"").await;
    expect(&mut client, 502).await;
    assert_eq!(rest(&mut client).await, b"");
}

#[tokio::test]
async fn a_later_request_in_a_raw_stream_is_closed_without_an_error_page() {
    let options = TcpOptions {
        protocol: Protocol::Raw,
        ..http()
    };
    let world = World::new(Limits::default(), options).await;
    world.allow_wakes(1);
    let mut client = world.asking("/").await;
    expect(&mut client, 200).await;
    ask(&mut client, "/die", b"").await;
    assert_eq!(rest(&mut client).await, b"");
}

#[tokio::test]
async fn without_a_refusal_the_connection_is_just_closed() {
    let world = World::new(Limits::default(), TcpOptions::default()).await;
    world.allow_wakes(1);
    world.fail_next("no");
    assert_eq!(rest(&mut world.asking("/").await).await, b"");
}

#[tokio::test]
async fn a_backend_that_refuses_connections_is_a_503_that_says_when_to_retry() {
    let world = World::awake_on_demand().await;
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    world.replace_guest(nobody);
    let (head, body) = answer(&mut world.asking("/").await).await.unwrap();
    assert!(
        head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nRetry-After: 1\r\n"),
        "{head}"
    );
    let body = String::from_utf8(body).unwrap();
    assert!(
        body.contains("no connection to be had now") && body.contains("refused"),
        "{body}"
    );
}

#[tokio::test]
async fn a_backend_that_resets_a_new_connection_has_no_room_either() {
    let world = World::awake_on_demand().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.replace_guest(listener.local_addr().unwrap());
    let mut client = world.asking("/").await;
    let (mut backend, _) = listener.accept().await.unwrap();
    backend.read_exact(&mut [0]).await.unwrap();
    reset(backend);
    let body = expect(&mut client, 503).await;
    assert!(
        body.contains("no connection to be had now") && body.contains("reset"),
        "{body}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connect_error_is_told_with_its_cause() {
    let mut room = Room::http();
    let cases = [
        (24, 503, "no connection to be had now: Too many open files"),
        (113, 502, "connect to the target: No route to host"),
    ];
    for (code, status, text) in cases {
        let cause = std::io::Error::from_raw_os_error(code);
        *room.failures.lock().unwrap() = vec![std::io::Error::other(cause)];
        let mut client = room.client();
        ask(&mut client, "/", b"").await;
        let body = expect(&mut client, status).await;
        assert!(body.contains(text), "{body}");
        assert!(
            room.refusals().iter().any(|refused| refused.contains(text)),
            "{:?}",
            room.refusals()
        );
    }
    room.connected("GET / HTTP/1.1\r\n\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn an_end_without_an_answer_is_told_with_the_reason_that_comes_after_it() {
    let mut room = Room::http();
    for (grace, text) in [
        (0, "the VM stopped: triple fault"),
        (99, "the VM stopped: triple fault"),
        (101, "closed the connection before its first byte"),
    ] {
        let (mut client, backend) = room.connected("GET / HTTP/1.1\r\n\r\n").await;
        drop(backend);
        // Time passes only when the proxy has seen the end.
        tokio::time::sleep(Duration::from_millis(grace)).await;
        room.target.backend_lost("the VM stopped: triple fault");
        let body = expect(&mut client, 502).await;
        assert!(body.contains(text), "after {grace} ms: {body}");
    }
}

#[tokio::test]
async fn a_lost_backend_is_a_502_for_those_inside_and_a_new_wake_for_the_next() {
    let world = World::awake_on_demand().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.replace_guest(listener.local_addr().unwrap());
    let mut waiting = world.asking("/").await;
    let (mut backend, _) = listener.accept().await.unwrap();
    backend.read_exact(&mut [0]).await.unwrap();
    world.target.backend_lost("the VM stopped: triple fault");
    let body = expect(&mut waiting, 502).await;
    assert!(body.contains("the VM stopped: triple fault"), "{body}");
    assert_eq!(world.target.state(), TargetState::Asleep);
    assert_eq!(world.counters().exchanges, 0);
    world.replace_guest(guest().await);
    expect(&mut world.asking("/").await, 200).await;
    assert_eq!(world.log.count("activate"), 2);
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_when_its_backend_is_lost() {
    let world = World::awake_on_demand().await;
    let mut idle = world.asking("/").await;
    expect(&mut idle, 200).await;
    world.target.backend_lost("the VM stopped: triple fault");
    assert_eq!(rest(&mut idle).await, b"", "no answer was due");
}

#[tokio::test]
async fn a_request_that_had_not_reached_its_lost_backend_waits_for_the_next() {
    let world = World::awake_on_demand().await;
    let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.replace_guest(refusing.local_addr().unwrap());
    drop(refusing);
    let mut client = world.asking("/").await;
    world.log.until("busy", 1).await;
    world.replace_guest(guest().await);
    world.target.backend_lost("the VM stopped: triple fault");
    expect(&mut client, 200).await;
    assert_eq!(world.log.count("activate"), 2);
}

#[tokio::test]
async fn a_refusal_survives_a_request_that_was_not_read() {
    let limits = Limits {
        held_bytes_per_connection: 1024,
        ..Limits::default()
    };
    let world = World::new(limits, http()).await;
    world.fail_next("no");
    let mut client = world.client().await;
    let (mut reader, mut writer) = client.split();
    let body = vec![0; 500_000];
    let upload = ask(&mut writer, "/echo", &body);
    let reply = async {
        world.log.until("held", 1).await;
        world.allow_wakes(1);
        expect(&mut reader, 503).await
    };
    let ((), reply) = tokio::join!(upload, reply);
    assert!(reply.contains("wake the target: no"), "{reply}");
}

#[tokio::test]
async fn a_backend_lost_while_asleep_closes_the_connections_that_were_kept() {
    let world = World::awake_on_demand().await;
    let mut kept = world.asking("/").await;
    expect(&mut kept, 200).await;
    world.log.until("quiet", 1).await;
    world.park();
    world.target.backend_lost("the snapshot is damaged");
    assert_eq!(rest(&mut kept).await, b"");
    assert_eq!(world.log.count("started"), 1, "closing wakes nothing");
}

#[tokio::test]
async fn a_backend_lost_while_waking_refuses_who_held_its_streams_and_serves_the_others() {
    let world = World::asleep().await;
    world.allow_wakes(1);
    let mut kept = world.asking("/").await;
    expect(&mut kept, 200).await;
    world.log.until("quiet", 1).await;
    world.park();
    ask(&mut kept, "/", b"").await;
    world.log.until("held", 2).await;
    let mut fresh = world.asking("/").await;
    world.log.until("held", 3).await;
    world.target.backend_lost("booted anew");
    let body = expect(&mut kept, 502).await;
    assert!(body.contains("booted anew"), "{body}");
    world.allow_wakes(1);
    expect(&mut fresh, 200).await;
}

#[tokio::test]
async fn a_guest_that_dies_while_asleep_closes_its_clients() {
    let world = World::awake_on_demand().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.replace_guest(listener.local_addr().unwrap());
    let mut client = world.asking("/").await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = [0; 64];
    let _ = stream.read(&mut request).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    expect(&mut client, 200).await;
    world.log.until("quiet", 1).await;
    world.target.try_park(Duration::ZERO).unwrap().parked();
    drop(stream);
    assert_eq!(rest(&mut client).await, b"");
    world.replace_guest(guest().await);
    assert_eq!(world.log.count("started"), 1);
}
