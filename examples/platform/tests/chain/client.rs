//! An HTTP/1.1 client that shows what really came over the wire.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use socket2::SockRef;

/// Longer than anything here takes on the slowest machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    /// Received, but not yet taken as a reply.
    rest: Vec<u8>,
}

/// One reply.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn number(&self) -> Result<u64> {
        ensure!(self.status == 200, "status {}: {}", self.status, self.text());
        self.text()
            .trim()
            .parse()
            .with_context(|| format!("{:?} is no number", self.text()))
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("{:?} is no JSON", self.text()))
    }
}

/// A request that keeps its connection.
pub(crate) fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// One request on a connection of its own.
pub(crate) fn get(addr: SocketAddr, path: &str) -> Result<Reply> {
    Client::connect(addr)?.get(path)
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self {
            stream,
            rest: Vec::new(),
        })
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<Reply> {
        self.send(request(path))?;
        self.receive().with_context(|| format!("GET {path}"))
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.stream.write_all(bytes.as_ref())?)
    }

    /// Sends as long as there is room; whether all of it had.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> Result<bool> {
        self.stream.set_nonblocking(true)?;
        let sent = self.stream.write_all(bytes.as_ref());
        self.stream.set_nonblocking(false)?;
        match sent {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The same connection, for another thread to send on.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        Ok(Self {
            stream: self.stream.try_clone()?,
            rest: Vec::new(),
        })
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&mut self) -> Result<()> {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }

    /// Goes away at once: an orderly close would only say that nothing more will be sent.
    pub(crate) fn leave(self) -> Result<()> {
        Ok(SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?)
    }

    /// The next reply; it must say how long it is.
    pub(crate) fn receive(&mut self) -> Result<Reply> {
        loop {
            if let Some(reply) = self.take()? {
                return Ok(reply);
            }
            let mut chunk = [0; 16 * 1024];
            let len = match self.stream.read(&mut chunk) {
                // A signal, of which the process has many, ends a wait that has a limit (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.context("wait for a reply")?,
            };
            ensure!(len > 0, "closed after {:?}", String::from_utf8_lossy(&self.rest));
            self.rest.extend_from_slice(&chunk[..len]);
        }
    }

    /// Whether the other side has closed and sent nothing more; waits for that.
    pub(crate) fn is_closed(&mut self) -> bool {
        loop {
            return match self.stream.read(&mut [0; 1]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => error.kind() == ErrorKind::ConnectionReset && self.rest.is_empty(),
                Ok(len) => len == 0 && self.rest.is_empty(),
            };
        }
    }

    /// Whether nothing has come, without waiting.
    pub(crate) fn is_silent(&self) -> Result<bool> {
        self.stream.set_nonblocking(true)?;
        let silent =
            matches!(self.stream.peek(&mut [0; 1]), Err(error) if error.kind() == ErrorKind::WouldBlock);
        self.stream.set_nonblocking(false)?;
        Ok(silent && self.rest.is_empty())
    }

    fn take(&mut self) -> Result<Option<Reply>> {
        let Some(head_len) = self.rest.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = String::from_utf8_lossy(&self.rest[..head_len + 2]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse::<usize>().ok());
        let status = status.with_context(|| format!("no status in {head:?}"))?;
        let end = head_len + 4 + length.with_context(|| format!("no length in {head:?}"))?;
        if self.rest.len() < end {
            return Ok(None);
        }
        let body = self.rest[head_len + 4..end].to_vec();
        self.rest.drain(..end);
        Ok(Some(Reply { status, head, body }))
    }
}
