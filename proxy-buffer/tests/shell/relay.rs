//! Copying while awake.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::world::{World, answer, ask, expect, rest};

#[tokio::test]
async fn fifty_requests_use_one_connection() {
    let world = World::awake_on_demand().await;
    let mut client = world.client().await;
    for count in 1..=50 {
        ask(&mut client, "/count", b"").await;
        assert_eq!(expect(&mut client, 200).await, count.to_string());
    }
    assert_eq!((world.log.count("opened"), world.log.count("activate")), (1, 1));
    world.log.until("quiet", world.log.count("busy")).await;
    assert_eq!(world.counters().exchanges, 0);
}

#[tokio::test]
async fn a_mebibyte_goes_both_ways() {
    let world = World::awake_on_demand().await;
    let body: Vec<u8> = (0..1024 * 1024_u32)
        .map(|i| i.to_le_bytes()[i as usize % 3])
        .collect();
    let mut client = world.client().await;
    for _ in 0..3 {
        let (mut reader, mut writer) = client.split();
        let ((), echo) = tokio::join!(ask(&mut writer, "/echo", &body), answer(&mut reader));
        assert!(echo.unwrap().1 == body, "bytes were changed");
    }
}

/// A client and the backend's end of its connection, after one exchange.
async fn connected(world: &World) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.replace_guest(listener.local_addr().unwrap());
    let mut client = world.client().await;
    client.write_all(b"ping\n").await.unwrap();
    let (mut backend, _) = listener.accept().await.unwrap();
    read(&mut backend, b"ping\n").await;
    backend.write_all(b"pong").await.unwrap();
    read(&mut client, b"pong").await;
    (client, backend)
}

async fn read(stream: &mut TcpStream, expected: &[u8]) {
    let mut read = vec![0; expected.len()];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(read, expected);
}

#[tokio::test]
async fn a_client_that_half_closes_still_hears_the_backend() {
    let world = World::awake_on_demand().await;
    let (mut client, mut backend) = connected(&world).await;
    client.write_all(b"last words").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut backend).await, b"last words");
    assert!(
        world.target.try_park(Duration::ZERO).is_err(),
        "the answer's end is still due"
    );
    backend.write_all(b"answer").await.unwrap();
    read(&mut client, b"answer").await;
    drop(backend);
    assert_eq!(rest(&mut client).await, b"");
    world.log.until("closed", 1).await;
}

#[tokio::test]
async fn a_backend_that_half_closes_still_hears_the_client() {
    let world = World::awake_on_demand().await;
    let (mut client, mut backend) = connected(&world).await;
    backend.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, b"");
    client.write_all(b"still here").await.unwrap();
    read(&mut backend, b"still here").await;
    drop(client);
    assert_eq!(rest(&mut backend).await, b"");
    world.log.until("closed", 1).await;
}

#[tokio::test]
async fn a_slow_client_gets_everything_and_keeps_its_backend_awake() {
    let world = World::awake_on_demand().await;
    let (mut client, mut backend) = connected(&world).await;
    let big = vec![9; 16 * 1024 * 1024];
    client.write_all(b"more").await.unwrap();
    read(&mut backend, b"more").await;
    let sent = big.clone();
    let send = tokio::spawn(async move {
        backend.write_all(&sent).await.unwrap();
        backend
    });
    // The client reads nothing, so the sockets fill up and the exchange stays open.
    let mut first = [0; 1];
    client.read_exact(&mut first).await.unwrap();
    world.log.until("busy", 2).await;
    while world.counters().exchanges == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(!send.is_finished());
    let busy = world.target.try_park(Duration::ZERO).unwrap_err();
    assert_eq!(busy.exchanges, 1);
    let mut all = vec![0; big.len() - 1];
    client.read_exact(&mut all).await.unwrap();
    assert!(all.iter().all(|byte| *byte == 9));
    drop(send.await.unwrap());
    assert_eq!(rest(&mut client).await, b"");
}

#[tokio::test]
async fn a_client_reset_closes_the_backend() {
    let world = World::awake_on_demand().await;
    let (client, mut backend) = connected(&world).await;
    crate::world::reset(client);
    assert_eq!(rest(&mut backend).await, b"");
    world.log.until("closed", 1).await;
    world.log.until("quiet", world.log.count("busy")).await;
}
