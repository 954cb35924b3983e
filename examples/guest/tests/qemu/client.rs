//! A client that keeps its connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result};

use crate::machine::PATIENCE;

pub(crate) struct Client(BufReader<TcpStream>);

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap_or("not UTF-8")
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.get_mut().write_all(bytes).context("send")
    }

    /// Reads one line, with its end.
    pub(crate) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).context("receive")?;
        Ok(line)
    }

    /// Reads one reply, with the body that its `Content-Length` announces.
    pub(crate) fn receive(&mut self) -> Result<Reply> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = self.0.read_line(&mut head).context("receive")?;
            anyhow::ensure!(read > 0, "connection closed after {head:?}");
        }
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .context("status")?;
        let len = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .context("length")?;
        let mut body = vec![0; len.parse()?];
        self.0.read_exact(&mut body).context("receive body")?;
        Ok(Reply { status, head, body })
    }

    pub(crate) fn get(&mut self, target: &str) -> Result<Reply> {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: guest\r\n\r\n").as_bytes())?;
        self.receive()
    }

    /// Whether the peer has closed the connection and sent nothing more.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0))
    }
}
