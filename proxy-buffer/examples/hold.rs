//! A server that sleeps until somebody asks: `cargo run -p proxy-buffer --example hold`.
//!
//! The "micro-VM" is a task that takes 20 ms to boot and is stopped when nobody has asked for 50 ms.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proxy_buffer::{
    ActivateError, Activator, Limits, Observer, Protocol, Proxy, TargetHandle, TcpBackend, TcpOptions,
    http1_refusal,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

const QUIET: Duration = Duration::from_millis(50);

/// Boots the server anew for every activation.
struct Boot;

impl Activator for Boot {
    type Key = String;
    type Backend = TcpBackend;

    async fn activate(&self, _key: &String) -> Result<TcpBackend, ActivateError> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(ActivateError::new)?;
        let addr = listener.local_addr().map_err(ActivateError::new)?;
        // An example may let go of it; a platform owns its machines.
        tokio::spawn(hello(listener));
        Ok(TcpBackend { addr })
    }
}

/// Answers every chunk it reads.
async fn hello(listener: TcpListener) -> std::io::Result<()> {
    let reply = Bytes::from_static(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n");
    loop {
        let (mut stream, _) = listener.accept().await?;
        let reply = reply.clone();
        tokio::spawn(async move {
            let mut request = [0; 4096];
            while stream.read(&mut request).await? > 0 {
                stream.write_all(&reply).await?;
            }
            Ok::<_, std::io::Error>(())
        });
    }
}

/// Tells the parker that the target is quiet.
struct Quiet(mpsc::UnboundedSender<()>);

impl Observer<String> for Quiet {
    fn quiet(&self, _key: &String, _at: Instant, _busy_for: Duration) {
        // Fails only when the example is over.
        let _ = self.0.send(());
    }
}

/// The owner's side of scale-to-zero.
async fn park_when_quiet(target: TargetHandle<Boot>, mut quiet: mpsc::UnboundedReceiver<()>) {
    while quiet.recv().await.is_some() {
        tokio::time::sleep(QUIET).await;
        match target.try_park(QUIET) {
            Ok(permit) => {
                // Here the machine would be paused, saved and freed.
                println!("        parked");
                permit.parked();
            }
            Err(busy) => println!("        not parked: {busy}"),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (sender, quiet) = mpsc::unbounded_channel();
    let proxy = Proxy::new(Limits::default(), Boot, Quiet(sender))?;
    let target = proxy.target("hello".into());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let options = TcpOptions {
        protocol: Protocol::Http1,
        refusal: http1_refusal,
        ..TcpOptions::default()
    };
    proxy.serve(listener, &target, options);
    let parker = tokio::spawn(park_when_quiet(target.clone(), quiet));

    let mut client = TcpStream::connect(addr).await?;
    for pause_ms in [0, 10, 200, 10, 200] {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        let before = target.state();
        let asked = Instant::now();
        client.write_all(b"GET / HTTP/1.1\r\nHost: hello\r\n\r\n").await?;
        let mut answer = [0; 4096];
        let len = client.read(&mut answer).await?;
        println!("{before:?}: {len} bytes after {:?}", asked.elapsed());
    }
    drop(client);
    println!("{:?}", target.counters());
    println!("{:?}", proxy.drain(Duration::from_secs(1)).await);
    parker.abort();
    Ok(())
}
