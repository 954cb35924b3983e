//! What an awake target is reached by.

use std::{future::Future, io, net::SocketAddr};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// A byte stream that the proxy can copy: TCP, Unix, TLS, an in-memory pipe.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// An awake target. Cloned for every connection, so it is a handle, not the thing itself.
///
/// It is cloned and dropped while its target is locked: both must be quick and must not panic.
pub trait Backend: Clone + Send + Sync + 'static {
    /// The connection it gives.
    type Stream: Stream;

    /// Opens one connection.
    ///
    /// # Errors
    /// The client that wanted it is refused: with [`HoldError::ConnectRefused`](crate::HoldError::ConnectRefused) if the
    /// error, or one that caused it, says that there is no room (refused, reset, no descriptor, port or memory left,
    /// [`QuotaExceeded`](io::ErrorKind::QuotaExceeded), [`ResourceBusy`](io::ErrorKind::ResourceBusy),
    /// [`WouldBlock`](io::ErrorKind::WouldBlock)), and with
    /// [`HoldError::ConnectFailed`](crate::HoldError::ConnectFailed) otherwise.
    ///
    /// # Cancel safety
    /// The future is dropped after [`Limits::connect_time`](crate::Limits::connect_time) or when the proxy drains.
    fn connect(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// A backend that listens on a TCP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpBackend {
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Backend for TcpBackend {
    type Stream = TcpStream;

    async fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.addr).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
