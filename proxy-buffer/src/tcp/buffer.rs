//! Buffers that belong to a thread, not to a connection.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

use crate::{HoldError, budget::Budget};

/// Length of a pooled buffer.
pub(super) const BUFFER_BYTES: usize = 64 * 1024;
/// Free buffers that a thread keeps.
const FREE_BUFFERS: usize = 8;

thread_local! {
    /// Only a cache: losing or duplicating it changes nothing but speed.
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Borrows a buffer of [`BUFFER_BYTES`].
fn borrow() -> Vec<u8> {
    FREE.with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| vec![0; BUFFER_BYTES])
}

/// Gives a buffer back; one of another length is freed.
fn give_back(buffer: Vec<u8>) {
    if buffer.len() == BUFFER_BYTES {
        FREE.with_borrow_mut(|free| {
            if free.len() < FREE_BUFFERS {
                free.push(buffer);
            }
        });
    }
}

/// Bytes on their way from one side to the other.
pub(super) struct Chunk {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Set while the bytes count as held.
    _reservation: Option<Reservation>,
}

impl Chunk {
    /// The first `len` bytes of a borrowed buffer.
    pub(super) fn new(buffer: Vec<u8>, len: usize) -> Self {
        let end = len.min(buffer.len());
        Self {
            buffer,
            start: 0,
            end,
            _reservation: None,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) fn advance(&mut self, len: usize) {
        self.start = self.end.min(self.start.saturating_add(len));
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.buffer));
    }
}

/// Reads at most `most` bytes into a borrowed buffer; `None` is the end of the stream.
pub(super) fn poll_chunk<R: AsyncRead + Unpin>(
    reader: &mut R,
    most: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Option<Chunk>>> {
    let mut buffer = borrow();
    let most = most.min(buffer.len());
    let mut room = ReadBuf::new(buffer.get_mut(..most).unwrap_or_default());
    let read = Pin::new(reader)
        .poll_read(cx, &mut room)
        .map_ok(|()| room.filled().len());
    let len = match &read {
        Poll::Ready(Ok(len)) => *len,
        Poll::Ready(Err(_)) | Poll::Pending => 0,
    };
    let chunk = Chunk::new(buffer, len);
    ready!(read)?;
    Poll::Ready(Ok((len > 0).then_some(chunk)))
}

/// A share of the bytes that the proxy may hold.
pub(super) struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Reservation {
    fn grow(&mut self, bytes: usize) -> Result<(), HoldError> {
        self.budget.reserve(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    fn shrink(&mut self, bytes: usize) {
        self.budget.give_back(bytes);
        self.bytes -= bytes;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// The bytes of one request that waits, in memory of their own size.
pub(super) struct HeldBytes {
    buffer: Vec<u8>,
    filled: usize,
    reservation: Reservation,
}

impl HeldBytes {
    /// Copies `bytes` out of a pooled buffer.
    pub(super) fn copy(bytes: &[u8], budget: &Arc<Budget>) -> Result<Self, HoldError> {
        let mut reservation = Reservation {
            budget: budget.clone(),
            bytes: 0,
        };
        reservation.grow(bytes.len())?;
        Ok(Self {
            buffer: bytes.to_vec(),
            filled: bytes.len(),
            reservation,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.filled
    }

    /// Reserved room that is not filled yet.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.filled..).unwrap_or_default()
    }

    /// Makes room for more bytes, if the proxy may hold them.
    pub(super) fn reserve(&mut self, bytes: usize) -> Result<(), HoldError> {
        self.reservation.grow(bytes)?;
        self.buffer.reserve_exact(bytes);
        self.buffer.resize(self.buffer.len() + bytes, 0);
        Ok(())
    }

    /// Gives back the room that is not filled.
    pub(super) fn shrink(&mut self) {
        let unfilled = self.buffer.len() - self.filled;
        self.buffer.truncate(self.filled);
        self.buffer.shrink_to_fit();
        self.reservation.shrink(unfilled);
    }

    pub(super) fn fill(&mut self, len: usize) {
        self.filled = self.buffer.len().min(self.filled.saturating_add(len));
    }

    /// On their way, if there are any. They count as held until they are written.
    pub(super) fn release(self) -> Option<Chunk> {
        let chunk = Chunk {
            buffer: self.buffer,
            start: 0,
            end: self.filled,
            _reservation: Some(self.reservation),
        };
        (self.filled > 0).then_some(chunk)
    }
}
