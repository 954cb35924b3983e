//! How long clients and backends may stand still: the paused clock shows who waited for how long.

use std::time::Duration;

use proxy_buffer::{Limits, Protocol, TargetState, TcpOptions, http1_refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    pipes::{Room, drip_until, pass, read, rest},
    world::{World, ask, expect, http, reset},
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[tokio::test(start_paused = true)]
async fn a_target_that_never_answers_is_a_504_and_forgotten() {
    let mut room = Room::http();
    let (mut client, mut backend) = room.connected(GET).await;
    let body = expect(&mut client, 504).await;
    assert_eq!(
        body,
        "504 Gateway Timeout: read the answer: the target made no progress for 60000 ms\n"
    );
    assert_eq!(room.seconds(), 60);
    assert_eq!(rest(&mut backend).await, "", "its stream is closed too");
    assert_eq!(rest(&mut client).await, "");
    drop(client);
    room.assert_forgotten().await;
    assert_eq!(room.refusals().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_closes_without_an_answer_is_a_502_that_says_how_late() {
    let mut room = Room::http();
    let (mut client, backend) = room.connected(GET).await;
    pass(25).await;
    drop(backend);
    assert_eq!(
        expect(&mut client, 502).await,
        "502 Bad Gateway: read the answer: the target closed the connection before its first byte, after 25000 ms\n"
    );
    drop(client);
    room.assert_forgotten().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_does_not_take_the_request_is_a_504() {
    let mut room = Room::http();
    let mut client = room.client();
    let head = "PUT / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let _backend = room.accepted().await;
    let (mut reader, mut writer) = tokio::io::split(client);
    let upload = async { writer.write_all(&[0; 100_000]).await };
    let (_, body) = tokio::join!(upload, expect(&mut reader, 504));
    assert!(
        body.contains("the target made no progress for 60000 ms"),
        "{body}"
    );
    drop((reader, writer));
    room.assert_forgotten().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_gets_on_may_take_as_long_as_it_likes() {
    let mut room = Room::http();
    let (mut client, mut backend) = room.connected(GET).await;
    pass(59).await;
    let head = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    backend.write_all(head.as_bytes()).await.unwrap();
    read(&mut client, head).await;
    for _ in 0..10 {
        pass(59).await;
        backend.write_all(b"1\r\nx\r\n").await.unwrap();
        read(&mut client, "1\r\nx\r\n").await;
        assert_eq!(
            room.target
                .try_park(Duration::from_secs(10))
                .unwrap_err()
                .exchanges,
            1,
            "the answer goes on"
        );
    }
    backend.write_all(b"0\r\n\r\n").await.unwrap();
    read(&mut client, "0\r\n\r\n").await;
    // Between requests nothing is late.
    pass(3600).await;
    client.write_all(GET.as_bytes()).await.unwrap();
    read(&mut backend, GET).await;
    assert!(room.refusals().is_empty(), "{:?}", room.refusals());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stops_half_way_is_broken_off_without_an_error_page() {
    let mut room = Room::http();
    let (mut client, mut backend) = room.connected(GET).await;
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    backend.write_all(half.as_bytes()).await.unwrap();
    assert_eq!(rest(&mut client).await, half);
    assert_eq!(room.seconds(), 60);
    room.assert_forgotten().await;
    assert_eq!(
        room.refusals(),
        ["refused: read the answer: the target made no progress for 60000 ms"]
    );
}

#[tokio::test]
async fn an_answer_without_a_length_that_is_broken_off_ends_with_a_reset() {
    let limits = Limits {
        answer_time: Duration::from_millis(50),
        ..Limits::default()
    };
    let world = World::new(limits, http()).await;
    world.allow_wakes(1);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.replace_guest(listener.local_addr().unwrap());
    let mut client = world.asking("/").await;
    let (mut backend, _) = listener.accept().await.unwrap();
    backend.write_all(b"HTTP/1.0 200 OK\r\n\r\nhalf").await.unwrap();
    let error = client.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    world.log.until("closed", 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_take_its_answer_is_dropped() {
    let mut room = Room::http();
    let (mut client, mut backend) = room.connected(GET).await;
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
    let answer = async {
        backend.write_all(head.as_bytes()).await.unwrap();
        backend.write_all(&[b'x'; 100_000]).await
    };
    let slow = async {
        // It is slow, but takes some: that is progress.
        for _ in 0..5 {
            pass(50).await;
            client.read_exact(&mut [0; 1000]).await.unwrap();
        }
    };
    let (answered, ()) = tokio::join!(answer, slow);
    assert!(answered.is_err(), "nobody reads it to the end");
    assert_eq!(room.seconds(), 250 + 60);
    room.assert_forgotten().await;
    assert_eq!(
        room.refusals(),
        ["refused: write the answer: the client took nothing of it for 60000 ms"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_ended_gets_an_answer_that_gets_on() {
    let mut room = Room::http();
    let (mut client, mut backend) = room.connected(GET).await;
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut backend).await, "", "the backend hears of it");
    for byte in HELLO.bytes() {
        pass(4).await;
        backend.write_all(&[byte]).await.unwrap();
    }
    drop(backend);
    assert_eq!(rest(&mut client).await, HELLO);
    room.assert_forgotten().await;
    assert!(room.refusals().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_ended_and_gets_nothing_is_forgotten_soon() {
    let mut room = Room::http();
    let (mut client, backend) = room.connected(GET).await;
    pass(20).await;
    client.shutdown().await.unwrap();
    let body = expect(&mut client, 504).await;
    assert_eq!(
        body,
        "504 Gateway Timeout: read the answer: nothing came for 5000 ms after the client had sent its end\n"
    );
    assert_eq!(room.seconds(), 25, "not at once: it may still read");
    drop((client, backend));
    room.assert_forgotten().await;

    // The same after an answer, when the backend does not notice that the client has gone, and in the middle of a request.
    let (mut client, mut backend) = room.connected(GET).await;
    backend.write_all(HELLO.as_bytes()).await.unwrap();
    read(&mut client, HELLO).await;
    drop(client);
    room.assert_forgotten().await;
    assert_eq!(room.seconds(), 30);
    let (client, _half) = room.connected("GET / HT").await;
    drop(client);
    room.assert_forgotten().await;
    assert_eq!(room.seconds(), 35);
    assert_eq!(room.log.count("refused: read the answer: nothing came"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_drips_in_is_a_408_at_its_time() {
    let mut room = Room::http();
    room.wake().await;
    let (mut client, _backend) = room.connected("G").await;
    let body = drip_until(&mut client, GET.bytes().skip(1).cycle(), 408).await;
    assert_eq!(
        body,
        "408 Request Timeout: read the request: its head was not complete after 30000 ms\n"
    );
    assert_eq!(room.seconds(), 30);
    drop(client);
    room.assert_forgotten().await;
}

#[tokio::test(start_paused = true)]
async fn a_body_may_pause_but_not_stop() {
    let mut room = Room::http();
    let head = "PUT / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n";
    let (mut client, _backend) = room.connected(head).await;
    for _ in 0..20 {
        pass(29).await;
        client.write_all(b"x").await.unwrap();
    }
    let body = expect(&mut client, 408).await;
    assert_eq!(
        body,
        "408 Request Timeout: read the request: no more of its body had come after 30000 ms\n"
    );
    assert_eq!(room.seconds(), 20 * 29 + 30);
    drop(client);
    room.assert_forgotten().await;
}

#[tokio::test(start_paused = true)]
async fn quiet_is_legal_where_something_else_than_http_is_spoken() {
    let raw = TcpOptions {
        refusal: http1_refusal,
        ..TcpOptions::default()
    };
    assert_eq!(raw.protocol, Protocol::Raw);
    let upgrade = "GET /chat HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let cases = [
        (raw, GET, "GET is what it says, but not what it means"),
        (http(), upgrade, "HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        (http(), "CONNECT a:1 HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
        (http(), "\u{16}\u{3}\u{1} hello", "\u{16}\u{3}\u{3} hello"),
    ];
    for (options, said, answer) in cases {
        let mut room = Room::new(Limits::default(), options);
        let (mut client, mut backend) = room.connected(said).await;
        backend.write_all(answer.as_bytes()).await.unwrap();
        read(&mut client, answer).await;
        client.write_all(b"G").await.unwrap();
        read(&mut backend, "G").await;
        pass(3600).await;
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut backend).await, "");
        pass(3600).await;
        backend.write_all(b"still here").await.unwrap();
        drop(backend);
        assert_eq!(rest(&mut client).await, "still here", "{said}");
        room.assert_forgotten().await;
        assert!(room.refusals().is_empty(), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_request_does_not_keep_its_target_awake_and_the_rest_wakes_it() {
    let (first, second) = ("PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhe", "llo");
    for split in [1, 16, first.len()] {
        let (half, rest_of_head) = first.split_at(split);
        let mut room = Room::http();
        room.wake().await;
        let (mut client, mut backend) = room.connected(half).await;
        let quiet = room.log.count("busy");
        room.log.until("quiet", quiet).await;
        pass(1).await;
        room.target.try_park(Duration::from_secs(1)).unwrap().parked();
        assert_eq!(room.target.state(), TargetState::Asleep);
        client.write_all(rest_of_head.as_bytes()).await.unwrap();
        client.write_all(second.as_bytes()).await.unwrap();
        read(&mut backend, &[rest_of_head, second].concat()).await;
        assert_eq!(room.log.count("started"), 2);
        let busy = room.target.try_park(Duration::ZERO).unwrap_err();
        assert_eq!(busy.exchanges, 1, "now an answer is due");
        backend.write_all(HELLO.as_bytes()).await.unwrap();
        read(&mut client, HELLO).await;
        room.log.until("quiet", room.log.count("busy")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_request_is_late_while_its_target_sleeps_and_wakes_nothing_then() {
    let mut room = Room::http();
    room.wake().await;
    let (mut client, mut backend) = room.connected("GET / HTT").await;
    room.log.until("quiet", room.log.count("busy")).await;
    room.target.try_park(Duration::ZERO).unwrap().parked();
    expect(&mut client, 408).await;
    assert_eq!(rest(&mut backend).await, "");
    drop(client);
    room.assert_forgotten().await;
    assert_eq!(room.log.count("started"), 1);
}

#[tokio::test]
async fn half_a_request_over_tcp_lets_its_target_sleep_too() {
    let world = World::awake_on_demand().await;
    expect(&mut world.asking("/").await, 200).await;
    world.log.until("closed", 1).await;
    let before = world.log.count("busy");
    let mut client = world.client().await;
    client.write_all(b"GET /count HTTP/1.1\r\n").await.unwrap();
    world.log.until("busy", before + 1).await;
    world.log.until("quiet", before + 1).await;
    world.park();
    client.write_all(b"Content-Length: 0\r\n\r\n").await.unwrap();
    assert_eq!(expect(&mut client, 200).await, "1");
    ask(&mut client, "/count", b"").await;
    assert_eq!(expect(&mut client, 200).await, "2");
    assert_eq!(world.log.count("activate"), 2);
    reset(client);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_understands_what_the_proxy_does_not_keeps_being_owed_to() {
    let mut room = Room::http();
    let lenient = "PUT / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\nhello";
    let (mut client, mut backend) = room.connected(lenient).await;
    for round in 1..3 {
        let busy = room.target.try_park(Duration::ZERO).unwrap_err();
        assert_eq!(busy.exchanges, 1, "request {round} is due");
        backend.write_all(HELLO.as_bytes()).await.unwrap();
        read(&mut client, HELLO).await;
        room.log.until("quiet", room.log.count("busy")).await;
        client.write_all(GET.as_bytes()).await.unwrap();
        read(&mut backend, GET).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_to_be_told_to_continue_is_owed_that() {
    let head = "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    let mut room = Room::http();
    let (mut client, mut backend) = room.connected(head).await;
    pass(59).await;
    let busy = room.target.try_park(Duration::from_secs(1)).unwrap_err();
    assert_eq!(busy.exchanges, 1, "it is due to say something");
    backend.write_all(go_on.as_bytes()).await.unwrap();
    read(&mut client, go_on).await;
    room.log.until("quiet", 1).await;
    client.write_all(b"hello").await.unwrap();
    read(&mut backend, "hello").await;
    backend.write_all(HELLO.as_bytes()).await.unwrap();
    read(&mut client, HELLO).await;
    room.log.until("quiet", room.log.count("busy")).await;

    let (mut client, _backend) = room.connected(head).await;
    let body = expect(&mut client, 504).await;
    assert!(
        body.contains("the target made no progress for 60000 ms"),
        "{body}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_one_exchange_until_it_pauses() {
    let mut room = Room::http();
    let head = "PUT / HTTP/1.1\r\nContent-Length: 100\r\n\r\n";
    let (mut client, mut backend) = room.connected(head).await;
    for _ in 0..99 {
        tokio::time::sleep(Duration::from_millis(9)).await;
        client.write_all(b"x").await.unwrap();
        read(&mut backend, "x").await;
    }
    assert_eq!((room.log.count("busy"), room.log.count("quiet")), (1, 0));
    // It may be parked while the client pauses.
    tokio::time::sleep(Duration::from_millis(11)).await;
    assert_eq!(room.log.count("quiet"), 1);
    room.target.try_park(Duration::from_millis(11)).unwrap().parked();
    client.write_all(b"x").await.unwrap();
    read(&mut backend, "x").await;
    backend.write_all(HELLO.as_bytes()).await.unwrap();
    read(&mut client, HELLO).await;
    room.log.until("quiet", 2).await;
    assert_eq!(room.log.count("busy"), 2);
    // The answer's end ends the exchange at once.
    assert_eq!(room.seconds(), 0);
}
