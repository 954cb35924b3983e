//! A guest, an activator that obeys the test, and clients.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use proxy_buffer::{
    ActivateError, Activator, Counters, Epoch, HoldError, Limits, Observer, Protocol, Proxy, TargetHandle,
    TcpBackend, TcpOptions, http1_refusal,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

/// Wakes whenever the test gives it a permit.
pub(crate) struct Fake {
    guest: Mutex<SocketAddr>,
    permits: Semaphore,
    failure: Mutex<Option<String>>,
    running: AtomicUsize,
    pub(crate) log: Log,
}

/// What happened, in order.
#[derive(Clone)]
pub(crate) struct Log {
    events: Arc<watch::Sender<Vec<String>>>,
    quiet: Arc<watch::Sender<()>>,
    asleep: Arc<watch::Sender<()>>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            events: Arc::new(watch::Sender::new(Vec::new())),
            quiet: Arc::new(watch::Sender::new(())),
            asleep: Arc::new(watch::Sender::new(())),
        }
    }

    fn push(&self, event: impl Into<String>) {
        self.events.send_modify(|events| events.push(event.into()));
    }

    pub(crate) fn count(&self, event: &str) -> usize {
        self.events
            .borrow()
            .iter()
            .filter(|other| other.starts_with(event))
            .count()
    }

    /// Waits until `event` has happened `times` times.
    pub(crate) async fn until(&self, event: &str, times: usize) {
        let mut events = self.events.subscribe();
        let enough =
            |events: &Vec<String>| events.iter().filter(|other| other.starts_with(event)).count() >= times;
        events.wait_for(enough).await.unwrap();
    }

    /// Changes whenever the target becomes quiet.
    pub(crate) fn quiet(&self) -> watch::Receiver<()> {
        self.quiet.subscribe()
    }

    /// Changes whenever the target falls asleep.
    pub(crate) fn asleep(&self) -> watch::Receiver<()> {
        self.asleep.subscribe()
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.events.borrow().clone()
    }
}

pub(crate) struct Running<'a>(&'a Fake);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        self.0.log.push("future dropped");
    }
}

#[derive(Clone)]
pub(crate) struct FakeRef(pub(crate) Arc<Fake>);

impl Activator for FakeRef {
    type Key = &'static str;
    type Backend = TcpBackend;

    async fn activate(&self, _key: &&'static str) -> Result<TcpBackend, ActivateError> {
        assert_eq!(
            self.0.running.fetch_add(1, Ordering::SeqCst),
            0,
            "two activations at once"
        );
        let _running = Running(&self.0);
        self.0.log.push("activate");
        self.0.permits.acquire().await.unwrap().forget();
        match self.0.failure.lock().unwrap().take() {
            Some(failure) => Err(ActivateError::new(failure)),
            None => Ok(TcpBackend {
                addr: *self.0.guest.lock().unwrap(),
            }),
        }
    }

    fn unwanted(&self, _key: &&'static str, _backend: TcpBackend) {
        self.0.log.push("unwanted");
    }
}

impl Observer<&'static str> for Log {
    fn connection_opened(&self, _: &&'static str) {
        self.push("opened");
    }
    fn connection_closed(&self, _: &&'static str, _: Duration) {
        self.push("closed");
    }
    fn made_room(&self, _: &&'static str) {
        self.push("made room");
    }
    fn held(&self, _: &&'static str) {
        self.push("held");
    }
    fn released(&self, _: &&'static str, _: Duration) {
        self.push("released");
    }
    fn refused(&self, _: &&'static str, why: &HoldError, _: Duration) {
        self.push(format!("refused: {why}"));
    }
    fn left(&self, _: &&'static str, _: Duration) {
        self.push("left");
    }
    fn activation_started(&self, _: &&'static str, _: Epoch) {
        self.push("started");
    }
    fn activation_finished(
        &self,
        _: &&'static str,
        _: Epoch,
        _: Duration,
        result: Result<(), &ActivateError>,
    ) {
        self.push(if result.is_ok() { "woken" } else { "wake failed" });
    }
    fn activation_cancelled(&self, _: &&'static str, _: Epoch, _: Duration) {
        self.push("cancelled");
    }
    fn busy(&self, _: &&'static str, _: Instant) {
        self.push("busy");
    }
    fn quiet(&self, _: &&'static str, _: Instant, _: Duration) {
        self.push("quiet");
        self.quiet.send_replace(());
    }
    fn asleep(&self, _: &&'static str) {
        self.push("asleep");
        self.asleep.send_replace(());
    }
}

/// A proxy with one target, served on a loopback port.
pub(crate) struct World {
    pub(crate) proxy: Proxy<FakeRef>,
    pub(crate) target: TargetHandle<FakeRef>,
    pub(crate) addr: SocketAddr,
    pub(crate) fake: Arc<Fake>,
    pub(crate) log: Log,
    pub(crate) options: TcpOptions,
}

pub(crate) fn http() -> TcpOptions {
    TcpOptions {
        protocol: Protocol::Http1,
        refusal: http1_refusal,
        ..TcpOptions::default()
    }
}

impl World {
    pub(crate) async fn new(limits: Limits, options: TcpOptions) -> Self {
        Self::observed(limits, options, Log::clone).await
    }

    /// With an observer that may do more than to keep the log.
    pub(crate) async fn observed<O: Observer<&'static str>>(
        limits: Limits,
        options: TcpOptions,
        observer: impl FnOnce(&Log) -> O,
    ) -> Self {
        let guest = guest().await;
        let log = Log::new();
        let fake = Arc::new(Fake {
            guest: Mutex::new(guest),
            permits: Semaphore::new(0),
            failure: Mutex::new(None),
            running: AtomicUsize::new(0),
            log: log.clone(),
        });
        let proxy = Proxy::new(limits, FakeRef(fake.clone()), observer(&log)).unwrap();
        let target = proxy.target("guest");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        proxy.serve(listener, &target, options.clone());
        Self {
            proxy,
            target,
            addr,
            fake,
            log,
            options,
        }
    }

    /// The usual limits, HTTP refusals, and wakes that succeed at once.
    pub(crate) async fn awake_on_demand() -> Self {
        let world = Self::new(Limits::default(), http()).await;
        world.allow_wakes(1_000_000);
        world
    }

    /// The usual limits, HTTP refusals, and wakes that wait for [`World::allow_wakes`].
    pub(crate) async fn asleep() -> Self {
        Self::new(Limits::default(), http()).await
    }

    pub(crate) fn allow_wakes(&self, wakes: usize) {
        self.fake.permits.add_permits(wakes);
    }

    pub(crate) fn fail_next(&self, why: &str) {
        *self.fake.failure.lock().unwrap() = Some(why.into());
    }

    /// Lets the next connections go elsewhere.
    pub(crate) fn replace_guest(&self, guest: SocketAddr) {
        *self.fake.guest.lock().unwrap() = guest;
    }

    pub(crate) async fn client(&self) -> TcpStream {
        connect(self.addr).await
    }

    /// A client that has sent `GET path` and waits.
    pub(crate) async fn asking(&self, path: &str) -> TcpStream {
        let mut client = self.client().await;
        ask(&mut client, path, b"").await;
        client
    }

    /// Parks the target and lets it fall asleep.
    pub(crate) fn park(&self) {
        self.target.try_park(Duration::ZERO).unwrap().parked();
    }

    pub(crate) fn counters(&self) -> Counters {
        self.target.counters()
    }

    /// Everything has been given back.
    pub(crate) fn assert_nothing_held(&self) {
        let counters = self.counters();
        assert_eq!(
            (counters.waiters, counters.held_bytes, self.proxy.held_bytes()),
            (0, 0, 0)
        );
    }
}

pub(crate) async fn connect(addr: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(addr).await.unwrap();
    client.set_nodelay(true).unwrap();
    client
}

pub(crate) async fn ask<S: AsyncWrite + Unpin>(client: &mut S, path: &str, body: &[u8]) {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: guest\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(body).await.unwrap();
}

/// Reads one answer: its head and its body.
pub(crate) async fn answer<S: AsyncRead + Unpin>(client: &mut S) -> io::Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut body = vec![0; content_length(&head)];
    client.read_exact(&mut body).await?;
    Ok((head, body))
}

/// Reads one answer and expects `status` at its beginning.
pub(crate) async fn expect<S: AsyncRead + Unpin>(client: &mut S, status: u16) -> String {
    let (head, body) = answer(client).await.unwrap();
    let body = String::from_utf8_lossy(&body).into_owned();
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}{body}");
    body
}

fn content_length(head: &str) -> usize {
    let value = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    value.map_or(0, |value| value.parse().unwrap())
}

/// A server as it runs in a guest. `/` says hello, `/echo` returns the body, `/die` closes without an answer, `/hang`
/// never answers, `/half` answers half and closes, `/count` counts the requests of the connection.
pub(crate) async fn guest() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(serve(stream));
        }
    });
    addr
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    for count in 1.. {
        let (head, body) = answer(&mut stream).await?;
        let path = head.split(' ').nth(1).unwrap();
        let reply = match path {
            "/" => b"hello".to_vec(),
            "/echo" => body,
            "/count" => count.to_string().into_bytes(),
            "/hang" => std::future::pending().await,
            "/half" => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
                    .await?;
                return Ok(());
            }
            _ => return Ok(()),
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", reply.len());
        stream.write_all(&[head.into_bytes(), reply].concat()).await?;
    }
    Ok(())
}

/// Everything until the end of the stream.
pub(crate) async fn rest(client: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    rest
}

/// Closes with a reset, as a client that crashes or gives up.
pub(crate) fn reset(client: TcpStream) {
    socket2::SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
}
