//! The smallest HTTP/1.1 client that a demonstration needs.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An answer that is longer than this is none of the demo guest's.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);

/// One request and its answer.
#[derive(Debug)]
pub(super) struct Exchange {
    /// From before the connection was opened to the first byte of the answer.
    pub(super) first_byte: Duration,
    pub(super) body: String,
}

/// Opens a connection, sends one request, and reads the answer. Blocking, so that no scheduler is measured along.
pub(super) fn get(addr: SocketAddr, path: &str) -> anyhow::Result<Exchange> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(request(path, "close").as_bytes())?;
    let mut answer = vec![0; MAX_ANSWER_BYTES];
    let mut len = read_some(&mut stream, &mut answer)?;
    let first_byte = begun.elapsed();
    while len > 0 {
        match read_some(&mut stream, answer.get_mut(len..).unwrap_or_default())? {
            0 => break,
            more => len += more,
        }
    }
    let (_, body) = parse(answer.get(..len).unwrap_or_default())?.context("the answer ends early")?;
    Ok(Exchange { first_byte, body })
}

/// What there is to read, whatever signals come: with a time limit, those end the wait of a socket (signal(7)).
pub(super) fn read_some(stream: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(into) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Like [`get`], for many at once.
pub(super) async fn get_async(addr: SocketAddr, path: &str) -> anyhow::Result<String> {
    Connection::open(addr).await?.get(path).await
}

/// A connection that is kept alive.
#[derive(Debug)]
pub(super) struct Connection(tokio::net::TcpStream);

impl Connection {
    pub(super) async fn open(addr: SocketAddr) -> anyhow::Result<Self> {
        let stream = tokio::net::TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    pub(super) async fn get(&mut self, path: &str) -> anyhow::Result<String> {
        tokio::time::timeout(TIMEOUT, self.exchange(path))
            .await
            .context("no answer in time")?
    }

    async fn exchange(&mut self, path: &str) -> anyhow::Result<String> {
        self.0.write_all(request(path, "keep-alive").as_bytes()).await?;
        let mut answer = Vec::new();
        loop {
            ensure!(
                self.0.read_buf(&mut answer).await? > 0,
                "the connection was closed in the middle of an answer"
            );
            if let Some((_, body)) = parse(&answer)? {
                return Ok(body);
            }
            ensure!(answer.len() < MAX_ANSWER_BYTES, "the answer is too long");
        }
    }
}

fn request(path: &str, connection: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: demo\r\nConnection: {connection}\r\n\r\n")
}

/// Status and body of a whole answer; `None` while bytes are missing.
fn parse(answer: &[u8]) -> anyhow::Result<Option<(u16, String)>> {
    let text = std::str::from_utf8(answer).context("the answer is not text")?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(None);
    };
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok());
    let status: u16 = status.context("the answer has no status")?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .context("the answer has no Content-Length")?;
    match body.get(..length) {
        Some(body) if status != 200 => bail!("status {status}: {}", body.trim()),
        body => Ok(body.map(|body| (status, body.to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        assert_eq!(parse(answer).unwrap(), Some((200, "abc".to_owned())));
        for len in 0..answer.len() {
            assert_eq!(parse(&answer[..len]).unwrap(), None, "{len}");
        }
    }

    #[test]
    fn an_error_is_reported_with_its_text() {
        let error = parse(b"HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\ngone").unwrap_err();
        assert_eq!(error.to_string(), "status 503: gone");
        let half = parse(b"HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\ngo").unwrap();
        assert_eq!(half, None);
    }
}
