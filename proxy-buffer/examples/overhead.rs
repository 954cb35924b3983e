//! What holding costs: `cargo run --release -p proxy-buffer --example overhead`.
//!
//! Three threads: a blocking client, the proxy on a current-thread runtime, a backend that runs all the time. Requests
//! to an awake and to a sleeping target alternate, so that both see the same noise; the activation is a round trip to a
//! controller task on the proxy's runtime. Also counts the memory of idle connections (needs 20,000 file descriptors).

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError, mpsc as blocking},
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use proxy_buffer::{
    ActivateError, Activator, Counters, Limits, Observer, Proxy, TargetHandle, TargetState, TcpBackend,
    TcpOptions,
};
use tokio::sync::{mpsc, oneshot};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const ROUNDS: usize = 5000;
/// How long the target is quiet before it is parked.
const QUIET: Duration = Duration::from_micros(200);
const IDLE: usize = 5000;
/// Four descriptors each, of the usual limit of 20,000.
const ANSWERED: usize = 4800;

/// Remembers how long requests were held, and says when the target's counters have changed.
#[derive(Clone)]
struct Waits {
    held: Arc<Mutex<Histogram<u64>>>,
    changed: blocking::SyncSender<()>,
}

impl Waits {
    fn changed(&self) {
        // When it is full, the client will look again anyway.
        let _ = self.changed.try_send(());
    }
}

impl Observer<()> for Waits {
    fn released(&self, _key: &(), waited: Duration) {
        let mut waits = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        waits.saturating_record(nanos(waited));
    }

    fn connection_opened(&self, _key: &()) {
        self.changed();
    }

    fn connection_closed(&self, _key: &(), _open_for: Duration) {
        self.changed();
    }

    fn quiet(&self, _key: &(), _at: Instant, _busy_for: Duration) {
        self.changed();
    }
}

/// The target, as the client's thread waits for it.
struct Watched {
    target: TargetHandle<Controller>,
    changed: blocking::Receiver<()>,
}

impl Watched {
    fn until(&self, reached: impl Fn(Counters) -> bool) -> Outcome<()> {
        while !reached(self.target.counters()) {
            self.changed.recv()?;
        }
        Ok(())
    }

    /// Parks the target when it has become quiet, or only waits for that.
    fn settle(&self, asleep: bool) -> Outcome<()> {
        loop {
            self.until(|now| now.exchanges == 0)?;
            match self.target.try_park(QUIET) {
                Ok(permit) if asleep => permit.parked(),
                Ok(permit) => permit.abort(),
                Err(busy) if busy.state == TargetState::Asleep => {}
                Err(busy) => {
                    thread::sleep(QUIET.saturating_sub(busy.last_activity_age));
                    continue;
                }
            }
            return Ok(());
        }
    }
}

/// Asks a controller task for the backend.
struct Controller(mpsc::Sender<oneshot::Sender<TcpBackend>>);

impl Activator for Controller {
    type Key = ();
    type Backend = TcpBackend;

    async fn activate(&self, _key: &()) -> Result<TcpBackend, ActivateError> {
        let (sender, receiver) = oneshot::channel();
        self.0
            .send(sender)
            .await
            .map_err(|_| ActivateError::new("the controller has ended"))?;
        receiver.await.map_err(ActivateError::new)
    }
}

fn main() -> Outcome<()> {
    let backend = echo()?;
    let (sender, receiver) = blocking::channel();
    let held = Arc::new(Mutex::new(Histogram::new_with_max(60_000_000_000, 3)?));
    let (change, changed) = blocking::sync_channel(1);
    let waits = Waits {
        held: held.clone(),
        changed: change,
    };
    thread::spawn(move || proxy(backend, waits, &sender));
    let (addr, target) = receiver.recv()?;
    let watched = Watched { target, changed };
    println!("load {}", fs::read_to_string("/proc/loadavg")?.trim());

    let mut new = Pair::new()?;
    for round in 0..2 * ROUNDS {
        let asleep = round % 2 == 0;
        watched.settle(asleep)?;
        let asked = Instant::now();
        let mut client = connect(addr)?;
        ping(&mut client)?;
        new.record(asleep, asked)?;
    }
    new.print("new connection");

    let mut kept = Pair::new()?;
    let mut client = connect(addr)?;
    ping(&mut client)?;
    for round in 0..2 * ROUNDS {
        let asleep = round % 2 == 0;
        watched.settle(asleep)?;
        let asked = Instant::now();
        ping(&mut client)?;
        kept.record(asleep, asked)?;
    }
    kept.print("kept connection");
    let held = held.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (p10, p50) = (held.value_at_quantile(0.1), held.value_at_quantile(0.5));
    println!(
        "from held to released: p10 {:.1} µs, p50 {:.1} µs",
        micros(p10),
        micros(p50)
    );
    println!("load {}", fs::read_to_string("/proc/loadavg")?.trim());
    drop(client);
    idle(addr, &watched)
}

/// Latencies of the awake and the sleeping target.
struct Pair {
    awake: Histogram<u64>,
    asleep: Histogram<u64>,
}

impl Pair {
    fn new() -> Outcome<Self> {
        Ok(Self {
            awake: Histogram::new(3)?,
            asleep: Histogram::new(3)?,
        })
    }

    fn record(&mut self, asleep: bool, since: Instant) -> Outcome<()> {
        let histogram = if asleep { &mut self.asleep } else { &mut self.awake };
        Ok(histogram.record(nanos(since.elapsed()))?)
    }

    fn print(&self, what: &str) {
        for (name, quantile) in [("p10", 0.1), ("p50", 0.5), ("p99", 0.99)] {
            let awake = micros(self.awake.value_at_quantile(quantile));
            let asleep = micros(self.asleep.value_at_quantile(quantile));
            println!(
                "{what} {name}: awake {awake:.1} µs, asleep {asleep:.1} µs, added {:+.1} µs",
                asleep - awake
            );
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn micros(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64() * 1e6
}

/// Resident memory per connection: first of clients that said nothing, then of those that were answered once.
fn idle(addr: SocketAddr, watched: &Watched) -> Outcome<()> {
    watched.until(|now| now.connections == 0)?;
    let start = resident_kib()?;
    let mut clients = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        clients.push(connect(addr)?);
    }
    watched.until(|now| now.connections == IDLE)?;
    let silent = resident_kib()?;
    for client in clients.iter_mut().take(ANSWERED) {
        ping(client)?;
    }
    watched.until(|now| now.exchanges == 0)?;
    let quiet = resident_kib()?;
    let each = |kib: f64, clients: usize| kib * 1024.0 / clients as f64;
    let silent_bytes = each(silent - start, IDLE);
    let stream_bytes = each(quiet - silent, ANSWERED);
    println!("{IDLE} silent connections: {silent_bytes:.0} bytes each");
    println!(
        "a quiet connection that has a backend stream: {:.0} bytes",
        silent_bytes + stream_bytes
    );
    println!("(the echo backend's own task and socket included)");
    Ok(())
}

fn resident_kib() -> Outcome<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

fn connect(addr: SocketAddr) -> Outcome<TcpStream> {
    let client = TcpStream::connect(addr)?;
    client.set_nodelay(true)?;
    Ok(client)
}

fn ping(client: &mut TcpStream) -> Outcome<()> {
    client.write_all(&[7; 64])?;
    client.read_exact(&mut [0; 64])?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn proxy(
    backend: TcpBackend,
    waits: Waits,
    ready: &blocking::Sender<(SocketAddr, TargetHandle<Controller>)>,
) {
    let (sender, mut activations) = mpsc::channel::<oneshot::Sender<TcpBackend>>(1);
    let proxy =
        Proxy::new(Limits::default(), Controller(sender), waits).expect("the default limits are valid");
    let target = proxy.target(());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    proxy.serve(listener, &target, TcpOptions::default());
    // Fails only if the example has ended.
    let _ = ready.send((addr, target));
    while let Some(activation) = activations.recv().await {
        let _ = activation.send(backend);
    }
}

/// A backend that is always there: one task per connection on a thread of its own.
fn echo() -> Outcome<TcpBackend> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    thread::spawn(move || serve_echo(listener));
    Ok(TcpBackend { addr })
}

#[tokio::main(flavor = "current_thread")]
async fn serve_echo(listener: TcpListener) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("it is not blocking");
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            stream.set_nodelay(true)?;
            let (mut reader, mut writer) = stream.split();
            let mut buffer = [0; 64];
            while let Ok(len @ 1..) = tokio::io::AsyncReadExt::read(&mut reader, &mut buffer).await {
                tokio::io::AsyncWriteExt::write_all(&mut writer, buffer.get(..len).unwrap_or_default())
                    .await?;
            }
            Ok::<_, std::io::Error>(())
        });
    }
}
