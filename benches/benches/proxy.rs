//! What holding costs: a round trip through the proxy to a target that is awake, and to one that has to be woken first by an
//! activator that takes no time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use proxy_buffer::{ActivateError, Activator, Limits, Proxy, TargetHandle, TcpBackend, TcpOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

const MESSAGE: &[u8; 64] = &[b'm'; 64];

/// Wakes at once.
struct Instantly(SocketAddr);

impl Activator for Instantly {
    type Key = u8;
    type Backend = TcpBackend;

    async fn activate(&self, _: &u8) -> Result<TcpBackend, ActivateError> {
        Ok(TcpBackend { addr: self.0 })
    }
}

/// Sends back what it gets.
async fn echo(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut message = [0; MESSAGE.len()];
        while stream.read_exact(&mut message).await.is_ok() && stream.write_all(&message).await.is_ok() {}
    }
}

/// A proxy in front of an echo server, on one thread.
fn start(runtime: &Runtime) -> std::io::Result<(Proxy<Instantly>, TargetHandle<Instantly>, SocketAddr)> {
    runtime.block_on(async {
        let backend = TcpListener::bind(("127.0.0.1", 0)).await?;
        let activator = Instantly(backend.local_addr()?);
        runtime.spawn(echo(backend));
        let proxy = Proxy::new(Limits::default(), activator, ()).map_err(std::io::Error::other)?;
        let target = proxy.target(1);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        proxy.serve(listener, &target, TcpOptions::default());
        Ok((proxy, target, addr))
    })
}

fn round_trip(client: &mut TcpStream) {
    client.write_all(MESSAGE).expect("the proxy reads");
    client
        .read_exact(&mut [0; MESSAGE.len()])
        .expect("the proxy answers");
}

/// Waits until the last exchange has ended.
fn park(target: &TargetHandle<Instantly>) {
    loop {
        if let Ok(permit) = target.try_park(Duration::ZERO) {
            return permit.parked();
        }
        std::thread::yield_now();
    }
}

fn bench(criterion: &mut Criterion) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a thread can be started");
    let (proxy, target, addr) = start(&runtime).expect("loopback ports are free");
    let mut client = TcpStream::connect(addr).expect("the proxy listens");
    client.set_nodelay(true).expect("it is a TCP stream");
    round_trip(&mut client);
    let mut group = criterion.benchmark_group("proxy");
    group.sample_size(50).measurement_time(Duration::from_secs(2));
    group.bench_function("awake", |bencher| bencher.iter(|| round_trip(&mut client)));
    group.bench_function("hold_wake_release", |bencher| {
        bencher.iter_batched(
            || park(&target),
            |()| round_trip(&mut client),
            BatchSize::PerIteration,
        );
    });
    group.finish();
    drop(client);
    runtime.block_on(proxy.drain(Duration::from_secs(1)));
}

criterion_group!(benches, bench);
criterion_main!(benches);
