//! Connections to a guest: who may open one, who waits for that, and who hears that the guest answers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use proxy_buffer::Backend;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::host::GuestLink;
use crate::vitals::Vitals;

/// Keeps more new connections than a guest can take from reaching it at once: it would refuse them, while a moment later it
/// has room again. Connections whose first request is answered do not count: a guest may end those that are idle.
#[derive(Debug)]
pub(crate) struct Doors {
    permits: Arc<Semaphore>,
    limit: usize,
    waiting: AtomicUsize,
    most_waiting: usize,
    patience: Duration,
}

impl Doors {
    /// Lets `limit` connections through at a time, and `most_waiting` more wait for `patience`.
    pub(crate) fn new(limit: usize, most_waiting: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(limit)),
            limit,
            waiting: AtomicUsize::new(0),
            most_waiting,
            patience,
        })
    }

    async fn enter(&self) -> io::Result<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let limit = self.limit;
        let full = |text: String| io::Error::new(io::ErrorKind::QuotaExceeded, text);
        let seat = Seat(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.most_waiting {
            let most = self.most_waiting;
            return Err(full(format!(
                "{limit} new connections wait for the guest's answer, and {most} for them"
            )));
        }
        let entered = tokio::time::timeout(self.patience, Arc::clone(&self.permits).acquire_owned()).await;
        drop(seat);
        match entered {
            Ok(permit) => permit.map_err(io::Error::other),
            Err(_) => Err(full(format!(
                "{limit} new connections wait for the guest's answer, and none got it for {} ms",
                self.patience.as_millis()
            ))),
        }
    }
}

/// One of those who wait; also when it leaves.
struct Seat<'a>(&'a AtomicUsize);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A running instance as the proxy reaches it.
#[derive(Clone)]
pub(crate) struct Guest {
    pub(crate) link: Arc<dyn GuestLink>,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) doors: Arc<Doors>,
}

impl Backend for Guest {
    type Stream = GuestStream;

    async fn connect(&self) -> io::Result<GuestStream> {
        let permit = self.doors.enter().await?;
        let stream = self.link.connect()?;
        stream.set_nonblocking(true)?;
        Ok(GuestStream {
            stream: UnixStream::from_std(stream)?,
            vitals: Arc::clone(&self.vitals),
            unanswered: Some(permit),
        })
    }
}

/// A connection to a guest that tells when the guest answers.
pub(crate) struct GuestStream {
    stream: UnixStream,
    vitals: Arc<Vitals>,
    /// Held until the first byte of the first answer.
    unanswered: Option<OwnedSemaphorePermit>,
}

impl AsyncRead for GuestStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        match &polled {
            Poll::Ready(Ok(())) if buf.filled().len() > before => {
                self.unanswered = None;
                self.vitals.answered();
            }
            // It has ended.
            Poll::Ready(_) if buf.remaining() > 0 => self.unanswered = None,
            _ => {}
        }
        polled
    }
}

impl AsyncWrite for GuestStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn some_enter_some_wait_and_the_rest_are_told_that_it_is_full() {
        let doors = Doors::new(2, 1, Duration::from_secs(10));
        let first = doors.enter().await.unwrap();
        let _second = doors.enter().await.unwrap();
        let third = tokio::spawn({
            let doors = Arc::clone(&doors);
            async move { doors.enter().await }
        });
        tokio::task::yield_now().await;
        let fourth = doors.enter().await.unwrap_err();
        assert_eq!(fourth.kind(), io::ErrorKind::QuotaExceeded);
        drop(first);
        let _third = third.await.unwrap().unwrap();
        // The seat is free again, but nobody leaves.
        let late = doors.enter().await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::QuotaExceeded);
        assert!(late.to_string().contains("10000 ms"), "{late}");
        assert_eq!(doors.waiting.load(Ordering::Relaxed), 0);
    }
}
