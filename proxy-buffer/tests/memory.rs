//! What a sleeping target takes of memory. It is read off the whole process, so this is the only test in it.

use std::io;
use std::time::Duration;

use proxy_buffer::{
    ActivateError, Activator, Backend, Limits, Protocol, Proxy, TargetHandle, TargetState, TcpOptions,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const TARGETS: u64 = 20_000;
const MOST_BYTES: u64 = 800;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// Answers one request and goes.
#[derive(Clone)]
struct Once;

impl Backend for Once {
    type Stream = DuplexStream;

    async fn connect(&self) -> io::Result<DuplexStream> {
        let (ours, mut theirs) = tokio::io::duplex(256);
        tokio::spawn(async move {
            let mut request = [0; REQUEST.len()];
            theirs.read_exact(&mut request).await?;
            theirs.write_all(ANSWER).await
        });
        Ok(ours)
    }
}

struct Awake;

impl Activator for Awake {
    type Key = u64;
    type Backend = Once;

    async fn activate(&self, _key: &u64) -> Result<Once, ActivateError> {
        Ok(Once)
    }
}

/// A request wakes the target, is answered, and the target falls asleep.
async fn used_once(proxy: &Proxy<Awake>, key: u64) {
    let target = proxy.target(key);
    let (mut client, server) = tokio::io::duplex(256);
    let options = TcpOptions {
        protocol: Protocol::Http1,
        ..TcpOptions::default()
    };
    proxy.serve_connection(server, &target, options);
    client.write_all(REQUEST).await.expect("the proxy reads");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("the proxy answers");
    assert_eq!(answer, ANSWER);
    drop(client);
    park(&target).await;
    assert_eq!(
        (target.state(), target.counters().activations),
        (TargetState::Asleep, 1)
    );
}

/// As soon as the last connection is gone.
async fn park(target: &TargetHandle<Awake>) {
    while target.counters().connections > 0 {
        tokio::task::yield_now().await;
    }
    let permit = target.try_park(Duration::ZERO);
    permit.expect("nobody is there").parked();
}

/// Of this process, as the kernel counts it (proc(5), statm).
fn resident_bytes() -> u64 {
    const PAGE: u64 = 4_096;
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("the second field counts pages") * PAGE
}

#[tokio::test]
async fn a_sleeping_target_takes_eight_hundred_bytes_at_most() {
    let proxy = Proxy::new(Limits::default(), Awake, ()).expect("the usual limits are fine");
    used_once(&proxy, TARGETS).await;
    let before = resident_bytes();
    // All at first, so that no target lies between what a connection leaves for the next.
    for key in 0..TARGETS {
        proxy.target(key);
    }
    for key in 0..TARGETS {
        used_once(&proxy, key).await;
    }
    let each = (resident_bytes() - before) / TARGETS;
    assert!(each <= MOST_BYTES, "{each} bytes, at most {MOST_BYTES}");
    assert!(each > 256, "{each} bytes: this measures something else");
}
