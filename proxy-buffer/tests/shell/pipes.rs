//! A proxy whose clients and backend are pipes in memory, so that time can be paused: it advances when everything waits.

use std::{io, sync::Mutex, time::Duration};

use proxy_buffer::{ActivateError, Activator, Backend, Limits, Proxy, TargetHandle, TcpOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
    time::Instant,
};

use crate::world::{Log, expect, http};

/// Bytes that a pipe takes before somebody reads them.
pub(crate) const PIPE_BYTES: usize = 4096;

/// What comes of the next connects; when there is none, they succeed.
type Failures = std::sync::Arc<Mutex<Vec<io::Error>>>;

#[derive(Clone)]
pub(crate) struct Pipes {
    accepted: mpsc::UnboundedSender<DuplexStream>,
    failures: Failures,
}

impl Backend for Pipes {
    type Stream = DuplexStream;

    async fn connect(&self) -> io::Result<DuplexStream> {
        if let Some(error) = self.failures.lock().unwrap().pop() {
            return Err(error);
        }
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        self.accepted.send(theirs).map_err(io::Error::other)?;
        Ok(ours)
    }
}

/// Wakes at once.
pub(crate) struct Awake(Pipes);

impl Activator for Awake {
    type Key = &'static str;
    type Backend = Pipes;

    async fn activate(&self, _key: &&'static str) -> Result<Pipes, ActivateError> {
        Ok(self.0.clone())
    }
}

/// The proxy, and the far ends of its backend's streams.
pub(crate) struct Room {
    pub(crate) proxy: Proxy<Awake>,
    pub(crate) target: TargetHandle<Awake>,
    pub(crate) log: Log,
    pub(crate) failures: Failures,
    accepted: mpsc::UnboundedReceiver<DuplexStream>,
    options: TcpOptions,
    start: Instant,
}

impl Room {
    pub(crate) fn new(limits: Limits, options: TcpOptions) -> Self {
        let (sender, accepted) = mpsc::unbounded_channel();
        let failures = Failures::default();
        let pipes = Pipes {
            accepted: sender,
            failures: failures.clone(),
        };
        let log = Log::new();
        let proxy = Proxy::new(limits, Awake(pipes), log.clone()).unwrap();
        Self {
            target: proxy.target("guest"),
            proxy,
            log,
            failures,
            accepted,
            options,
            start: Instant::now(),
        }
    }

    /// The usual limits, and HTTP/1.
    pub(crate) fn http() -> Self {
        Self::new(Limits::default(), http())
    }

    pub(crate) fn client(&self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(PIPE_BYTES);
        self.proxy
            .serve_connection(server, &self.target, self.options.clone());
        client
    }

    /// A client that has sent `text`, and the backend that has read as much of it as came.
    pub(crate) async fn connected(&mut self, text: &str) -> (DuplexStream, DuplexStream) {
        let mut client = self.client();
        client.write_all(text.as_bytes()).await.unwrap();
        let mut backend = self.accepted.recv().await.unwrap();
        read(&mut backend, text).await;
        (client, backend)
    }

    /// Wakes the target, and leaves it awake and quiet.
    pub(crate) async fn wake(&mut self) {
        let (mut client, mut backend) = self.connected("GET / HTTP/1.1\r\n\r\n").await;
        let answer = "HTTP/1.1 204 No Content\r\n\r\n";
        backend.write_all(answer.as_bytes()).await.unwrap();
        read(&mut client, answer).await;
        self.log.until("quiet", 1).await;
        drop((client, backend));
        self.assert_forgotten().await;
    }

    /// The next stream that the proxy opens to the backend.
    pub(crate) async fn accepted(&mut self) -> DuplexStream {
        self.accepted.recv().await.unwrap()
    }

    /// Whole seconds since the beginning.
    pub(crate) fn seconds(&self) -> u64 {
        self.start.elapsed().as_secs()
    }

    /// Waits until no connection is left, and checks that none has left anything behind.
    pub(crate) async fn assert_forgotten(&self) {
        self.log.until("closed", self.log.count("opened")).await;
        let counters = self.target.counters();
        assert_eq!(
            (counters.connections, counters.exchanges, counters.waiters),
            (0, 0, 0),
            "{:?}",
            self.log.all()
        );
    }

    /// What was refused, in the words of the error.
    pub(crate) fn refusals(&self) -> Vec<String> {
        let all = self.log.all().into_iter();
        all.filter(|event| event.starts_with("refused: ")).collect()
    }
}

pub(crate) async fn read(stream: &mut DuplexStream, text: &str) {
    let mut read = vec![0; text.len()];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&read), text);
}

/// Sends a byte every four seconds until the proxy answers with `status`, and says in which words.
pub(crate) async fn drip_until(
    client: &mut DuplexStream,
    bytes: impl Iterator<Item = u8>,
    status: u16,
) -> String {
    let (mut reader, mut writer) = tokio::io::split(client);
    let drip = async {
        for byte in bytes {
            pass(4).await;
            if writer.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = drip => unreachable!("it is answered while it drips"),
        body = expect(&mut reader, status) => body,
    }
}

/// Everything until the end of the stream.
pub(crate) async fn rest(stream: &mut DuplexStream) -> String {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    String::from_utf8(rest).unwrap()
}

pub(crate) async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
