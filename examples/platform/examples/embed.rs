//! A platform inside another program: configured, started, asked what it does, and stopped.
//!
//! `cargo run --release -p platform --example embed`; needs `/dev/kvm`.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::ensure;
use platform::{Activity, Config, Platform};

// For the tests, which run it too.
#[tokio::main]
pub(crate) async fn main() -> anyhow::Result<()> {
    let mut config = Config::default();
    config.listen = "127.0.0.1:0".parse()?;
    config.memory_mib = 32;
    config.cooldown_ms = 5;
    let platform = Platform::start(config).await?;
    let addr = platform.addr();
    println!(
        "booted in {:?}, serving on http://{addr}, asleep",
        platform.boot_time()
    );

    let mut status = platform.status();
    for wake in 1..=5 {
        // A client as there are many; it knows nothing of sleeping instances.
        let answer = tokio::task::spawn_blocking(move || {
            let mut client = TcpStream::connect(addr)?;
            client.write_all(b"GET /count HTTP/1.1\r\nHost: embed\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            client.read_to_string(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        })
        .await??;
        ensure!(answer.ends_with(&format!("\r\n\r\n{wake}")), "{answer:?}");
        let now = *status
            .wait_for(|now| now.parks >= wake && now.activity == Activity::Asleep)
            .await?;
        println!(
            "woke {wake} times, asleep again in {} KiB: {}",
            now.saved_bytes / 1024,
            platform.why()
        );
    }
    for (phase, took) in platform.phases().snapshot() {
        println!("{:<15} {:?}", phase.name(), took.quantile(0.5));
    }

    let stopped = platform.shut_down().await?;
    println!(
        "{} connections finished, {} cut off",
        stopped.connections.finished, stopped.connections.aborted
    );
    Ok(())
}
