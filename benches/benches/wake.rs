//! The whole chain: a request to a sleeping instance until the first byte of the answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::ensure;
use criterion::{Criterion, criterion_group, criterion_main};
use platform::{Activity, Config, Platform};
use tokio::runtime::Runtime;

const TIMEOUT: Duration = Duration::from_secs(10);
const COOLDOWN_MS: u64 = 5;
const REQUEST: &[u8] = b"GET /count HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";

fn first_byte(addr: SocketAddr) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(REQUEST)?;
    let mut answer = [0; 1024];
    let len = stream.read(&mut answer)?;
    let took = begun.elapsed();
    ensure!(
        answer
            .get(..len)
            .is_some_and(|start| start.starts_with(b"HTTP/1.1 200")),
        "the answer is not 200"
    );
    // To its end, so that the instance may sleep.
    while stream.read(&mut answer)? > 0 {}
    Ok(took)
}

fn bench(criterion: &mut Criterion) {
    if let Some(lack) = benches::lack() {
        return eprintln!("wake: skipped: {lack}");
    }
    let runtime = Runtime::new().expect("threads can be started");
    let mut config = Config::default();
    config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.cooldown_ms = COOLDOWN_MS;
    let platform = runtime
        .block_on(Platform::start(config))
        .expect("the platform starts");
    let mut status = platform.status();
    let mut wake = || -> anyhow::Result<Duration> {
        runtime.block_on(status.wait_for(|status| status.activity == Activity::Asleep))?;
        first_byte(platform.addr())
    };
    let mut group = criterion.benchmark_group("wake");
    group.sample_size(30).measurement_time(Duration::from_secs(3));
    group.bench_function("first_byte", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| wake().expect("the instance answers")).sum());
    });
    group.finish();
    runtime
        .block_on(platform.shut_down())
        .expect("the platform stops");
}

criterion_group!(benches, bench);
criterion_main!(benches);
