//! Where time matters it is paused, and the clients are in memory: it advances exactly when everything waits.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use proxy_buffer::{ActivateError, Activator, Backend, HoldError, Limits, Observer, Proxy};
use tokio::io::{AsyncWriteExt, DuplexStream};

use crate::world::{ask, expect, http};

#[derive(Clone)]
struct Pipes;

impl Backend for Pipes {
    type Stream = DuplexStream;

    async fn connect(&self) -> std::io::Result<DuplexStream> {
        std::future::pending().await
    }
}

/// Takes its time to wake.
struct Sleepy(Duration);

impl Activator for Sleepy {
    type Key = u32;
    type Backend = Pipes;

    async fn activate(&self, _key: &u32) -> Result<Pipes, ActivateError> {
        tokio::time::sleep(self.0).await;
        Ok(Pipes)
    }
}

#[derive(Clone, Default)]
struct Waits(Arc<Mutex<Vec<(&'static str, Duration)>>>);

impl Observer<u32> for Waits {
    fn refused(&self, _: &u32, _: &HoldError, waited: Duration) {
        self.0.lock().unwrap().push(("refused", waited));
    }
    fn released(&self, _: &u32, waited: Duration) {
        self.0.lock().unwrap().push(("released", waited));
    }
    fn activation_cancelled(&self, _: &u32, _: proxy_buffer::Epoch, after: Duration) {
        self.0.lock().unwrap().push(("cancelled", after));
    }
}

fn client(proxy: &Proxy<Sleepy>) -> DuplexStream {
    let (client, server) = tokio::io::duplex(64 * 1024);
    proxy.serve_connection(server, &proxy.target(7), http());
    client
}

#[tokio::test(start_paused = true)]
async fn who_waited_too_long_gets_504_and_the_last_one_cancels_the_wake() {
    let waits = Waits::default();
    let limits = Limits {
        hold_time: Duration::from_millis(500),
        ..Limits::default()
    };
    let proxy = Proxy::new(limits, Sleepy(Duration::from_secs(3600)), waits.clone()).unwrap();
    let mut first = client(&proxy);
    ask(&mut first, "/", b"").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut second = client(&proxy);
    ask(&mut second, "/", b"").await;
    let body = expect(&mut first, 504).await;
    assert!(body.contains("gave up after 50"), "{body}");
    assert_eq!(
        proxy.target(7).counters().waiters,
        1,
        "the second has 200 ms left"
    );
    expect(&mut second, 504).await;
    let waits = waits.0.lock().unwrap();
    let names: Vec<_> = waits.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["refused", "refused", "cancelled"]);
    assert!(
        waits.iter().all(|(_, waited)| waited.as_millis() / 10 >= 50),
        "{waits:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_hangs_is_a_502() {
    let limits = Limits {
        connect_time: Duration::from_millis(300),
        ..Limits::default()
    };
    let proxy = Proxy::new(limits, Sleepy(Duration::from_millis(5)), ()).unwrap();
    let mut client = client(&proxy);
    ask(&mut client, "/", b"").await;
    let body = expect(&mut client, 502).await;
    assert!(body.contains("connect to the target"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn the_observer_hears_how_long_a_request_waited() {
    let waits = Waits::default();
    let proxy = Proxy::new(
        Limits::default(),
        Sleepy(Duration::from_millis(40)),
        waits.clone(),
    )
    .unwrap();
    let mut client = client(&proxy);
    ask(&mut client, "/", b"").await;
    expect(&mut client, 502).await;
    let waits = waits.0.lock().unwrap();
    let (name, waited) = waits[0];
    assert_eq!(name, "released");
    assert!((40..50).contains(&waited.as_millis()), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_that_never_closes_is_dropped_in_the_end() {
    let proxy = Proxy::new(Limits::default(), Sleepy(Duration::ZERO), ()).unwrap();
    let mut client = client(&proxy);
    ask(&mut client, "/", b"").await;
    expect(&mut client, 502).await;
    while client.write_all(b"more and more").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::task::yield_now().await;
    assert_eq!(proxy.target(7).counters().connections, 0);
}
