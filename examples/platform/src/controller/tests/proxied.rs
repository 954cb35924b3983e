//! The controller behind a real proxy: what clients see when they are held.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use proxy_buffer::{
    Asked, HoldError, Limits, Observer, Protocol, Proxy, TargetHandle, TcpOptions, http1_refusal,
};
use scheduler::{ServiceConfig, StartSource};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::fake::{ANSWER, Plan};
use super::{Desk, PATIENCE, SERVICE};
use crate::front::{SILENCE, ServiceActivator, ServiceObserver, TargetGate};
use crate::guest_stream::Doors;

/// A desk with a proxy before it.
struct Front {
    desk: Desk,
    proxy: Proxy<ServiceActivator>,
    target: TargetHandle<ServiceActivator>,
    addr: SocketAddr,
}

impl Front {
    async fn new(change: impl FnOnce(&mut ServiceConfig)) -> Self {
        Self::limited(Limits::default(), change).await
    }

    /// One whose instance has answered once and is being parked, until the sender gives the word; dropped, it dies of it.
    async fn parking() -> (Self, mpsc::Sender<()>) {
        let front = Self::new(|_| {}).await;
        let (go, word) = mpsc::channel();
        front.desk.fake.parks.lock().unwrap().push_back(Plan::Waits(word));
        assert_eq!(answer(&mut front.ask().await).await, ANSWER);
        front.desk.logged("park 1").await;
        (front, go)
    }

    async fn limited(limits: Limits, change: impl FnOnce(&mut ServiceConfig)) -> Self {
        let desk = Desk::without_gate(change);
        let controller = || Arc::clone(&desk.controller);
        let activator = ServiceActivator {
            controller: controller(),
            doors: Doors::new(100, 100, PATIENCE),
        };
        let observer = ServiceObserver {
            controller: controller(),
        };
        let proxy = Proxy::new(limits, activator, observer).unwrap();
        let target = proxy.target(SERVICE);
        desk.controller
            .set_gate(SERVICE, Arc::new(TargetGate(target.clone())));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let options = TcpOptions {
            protocol: Protocol::Http1,
            refusal: http1_refusal,
            ..TcpOptions::default()
        };
        proxy.serve(listener, &target, options);
        Self {
            desk,
            proxy,
            target,
            addr,
        }
    }

    /// A client that has sent a request.
    async fn ask(&self) -> TcpStream {
        self.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await
    }

    async fn say(&self, text: &str) -> TcpStream {
        let mut client = TcpStream::connect(self.addr).await.unwrap();
        client.write_all(text.as_bytes()).await.unwrap();
        client
    }

    async fn ask_often(&self, times: usize) -> Vec<TcpStream> {
        let mut clients = Vec::new();
        for _ in 0..times {
            clients.push(self.ask().await);
        }
        clients
    }

    /// Waits until so many requests are held.
    async fn held(&self, count: usize) {
        let held = async {
            while self.target.counters().waiters != count {
                tokio::task::yield_now().await;
            }
        };
        let waited = timeout(PATIENCE, held).await;
        assert!(
            waited.is_ok(),
            "{:?} instead of {count} waiters",
            self.target.counters()
        );
    }

    async fn shut_down(self) -> Vec<String> {
        self.proxy.drain(Duration::ZERO).await;
        self.desk.shut_down().await
    }
}

/// Clients go away. An orderly close would only say that they have nothing more to send.
fn leave(clients: Vec<TcpStream>) {
    for client in clients {
        client.set_zero_linger().unwrap();
    }
}

async fn answer(client: &mut TcpStream) -> String {
    let mut answer = vec![0; 4096];
    let len = timeout(PATIENCE, client.read(&mut answer))
        .await
        .expect("an answer in time")
        .unwrap();
    String::from_utf8(answer[..len].to_vec()).unwrap()
}

/// The next boot waits for the word that the sender gives.
fn boot_on_word(desk: &Desk) -> mpsc::Sender<()> {
    let (go, word) = mpsc::channel();
    desk.fake.boots.lock().unwrap().push_back(Plan::Waits(word));
    go
}

#[tokio::test]
async fn who_leaves_while_held_is_forgotten_and_the_others_are_answered() {
    let front = Front::new(|config| config.start_from = StartSource::Image).await;
    let go = boot_on_word(&front.desk);
    let mut clients = front.ask_often(10).await;
    front.held(10).await;
    leave(clients.split_off(4));
    front.held(4).await;
    go.send(()).unwrap();
    for client in &mut clients {
        assert_eq!(answer(client).await, ANSWER);
    }
    let status = front.desk.until(|status| status.parks == 1).await;
    assert_eq!((status.boots, status.restores), (1, 0));
    drop(clients);
    front.shut_down().await;
}

#[tokio::test]
async fn when_the_last_has_left_the_instance_goes_to_sleep_unused() {
    let front = Front::new(|config| config.start_from = StartSource::Image).await;
    let go = boot_on_word(&front.desk);
    let clients = front.ask_often(3).await;
    front.held(3).await;
    leave(clients);
    front.held(0).await;
    go.send(()).unwrap();
    front.desk.until(|status| status.parks == 1).await;
    assert_eq!(front.target.counters().released, 0);
    // It is the same instance that the next one wakes.
    assert_eq!(answer(&mut front.ask().await).await, ANSWER);
    assert_eq!(front.shut_down().await[..3], ["boot 1", "park 1", "restore 1"]);
}

#[tokio::test]
async fn a_service_that_does_not_start_is_told_to_everyone_held() {
    let front = Front::new(|config| config.start_from = StartSource::Image).await;
    let go = boot_on_word(&front.desk);
    let plans = (0..2).map(|_| Plan::Fails("no such kernel"));
    front.desk.fake.boots.lock().unwrap().extend(plans);
    let mut clients = front.ask_often(5).await;
    front.held(5).await;
    // The first start fails too.
    drop(go);
    for client in &mut clients {
        let answer = answer(client).await;
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: "),
            "{answer}"
        );
        assert!(answer.contains("no such kernel"), "{answer}");
    }
    assert_eq!(answer(&mut front.ask().await).await, ANSWER);
    front.shut_down().await;
}

#[tokio::test]
async fn who_is_held_while_the_instance_dies_in_its_parking_is_answered_by_the_next_one() {
    let (front, go) = Front::parking().await;
    let mut clients = front.ask_often(5).await;
    front.held(5).await;
    // The host finds it dead.
    drop(go);
    for client in &mut clients {
        let answer = answer(client).await;
        assert!(
            answer == ANSWER || answer.starts_with("HTTP/1.1 502 "),
            "{answer}"
        );
    }
    assert_eq!(answer(&mut front.ask().await).await, ANSWER);
    let status = front.desk.until(|status| status.deaths == 1).await;
    assert_eq!(status.restores, 2);
    drop(clients);
    front.shut_down().await;
}

#[tokio::test]
async fn a_request_that_comes_while_parking_is_held_and_answered_after_the_next_restore() {
    let (front, go) = Front::parking().await;
    let mut client = front.ask().await;
    front.held(1).await;
    assert_eq!(front.desk.status.borrow().restores, 1);
    go.send(()).unwrap();
    assert_eq!(answer(&mut client).await, ANSWER);
    assert_eq!(front.desk.until(|status| status.parks == 2).await.restores, 2);
    front.shut_down().await;
}

#[tokio::test]
async fn only_complete_requests_that_are_not_answered_count_against_an_instance() {
    let limits = Limits {
        answer_time: Duration::from_millis(20),
        ..Limits::default()
    };
    let front = Front::limited(limits, |config| config.cooldown = Some(Duration::MAX)).await;
    front.desk.fake.silent.store(true, Ordering::Relaxed);
    // A server may wait for more of these.
    for text in ["\x16\x03\x01\x02", "GET / HTTP/1.1\nHost: a\n\n"].repeat(3) {
        let answer = answer(&mut front.say(text).await).await;
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    }
    assert_eq!(front.desk.log(), ["restore 1"]);
    for _ in 0..3 {
        let answer = answer(&mut front.ask().await).await;
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    }
    front
        .desk
        .logged("give up 1: NeverAnswered { in_a_row: 1 }")
        .await;
    front.shut_down().await;
}

#[tokio::test]
async fn connections_that_end_count_against_an_instance_after_a_long_silence() {
    let desk = Desk::new(|config| config.cooldown = Some(Duration::MAX));
    let observer = ServiceObserver {
        controller: Arc::clone(&desk.controller),
    };
    drop(desk.admit().await.unwrap());
    let closed = |asked, waited| {
        let why = HoldError::BackendClosed { asked, waited };
        observer.refused(&SERVICE, &why, Duration::ZERO);
    };
    for _ in 0..10 {
        closed(Asked::Bytes, SILENCE);
        closed(Asked::Request, SILENCE / 2);
    }
    // A crowd that waited together counts as one.
    for _ in 0..3 {
        closed(Asked::Request, SILENCE);
    }
    let pulse = &desk.controller.vitals(SERVICE).unwrap().pulse;
    let much_later = Duration::from_secs(1_000);
    assert_eq!(pulse.timed_out(much_later, Duration::ZERO), Some(2));
    assert_eq!(desk.log(), ["restore 1"]);
    desk.shut_down().await;
}

#[tokio::test]
async fn requests_are_held_and_answered_while_what_did_not_answer_is_put_aside() {
    let limits = Limits {
        answer_time: Duration::from_millis(20),
        ..Limits::default()
    };
    let front = Front::limited(limits, |config| config.cooldown = Some(Duration::MAX)).await;
    let (go, word) = mpsc::channel();
    front
        .desk
        .fake
        .asides
        .lock()
        .unwrap()
        .push_back(Plan::Waits(word));
    front.desk.fake.silent.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        let answer = answer(&mut front.ask().await).await;
        assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    }
    front.desk.fake.silent.store(false, Ordering::Relaxed);
    front.desk.logged("put aside").await;
    assert_eq!(answer(&mut front.ask().await).await, ANSWER);
    assert_eq!(front.desk.log().last().unwrap(), "restore 2");
    go.send(()).unwrap();
    front.shut_down().await;
}
