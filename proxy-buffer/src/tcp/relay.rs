//! Copying in both directions, and seeing exchanges in it.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{io::AsyncWrite, time::Instant};

use super::{
    buffer::{BUFFER_BYTES, Chunk},
    session::{Answer, End, Session, Wire, poll_chunk},
};
use crate::{Activator, HoldError, Stream, TargetState};

/// One direction of a connection.
#[derive(Default)]
pub(super) struct Pipe {
    /// Read, but not written yet. A connection at rest has none.
    pub(super) chunk: Option<Chunk>,
    pub(super) flow: Flow,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Flow {
    #[default]
    Open,
    /// The reader has ended; the writer is to be shut down when all is written.
    Ending,
    Ended,
}

impl Pipe {
    pub(super) fn is_empty(&self) -> bool {
        self.chunk.is_none()
    }

    pub(super) fn is_open(&self) -> bool {
        self.flow == Flow::Open
    }

    fn end(&mut self) {
        self.chunk = None;
        self.flow = Flow::Ended;
    }

    /// Writes what was read, then passes on the end. `Ready(true)`: something happened.
    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        let mut moved = false;
        while let Some(chunk) = &mut self.chunk {
            match Pin::new(&mut *writer).poll_write(cx, chunk.bytes()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(len)) => {
                    moved = true;
                    chunk.advance(len);
                    if chunk.bytes().is_empty() {
                        self.chunk = None;
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.flow == Flow::Ending {
            match Pin::new(writer).poll_shutdown(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            self.flow = Flow::Ended;
            moved = true;
        }
        Poll::Ready(Ok(moved))
    }
}

/// What interrupts the copying.
pub(super) enum Step {
    /// Both directions have ended.
    Done,
    /// The owner or the drain has something to say.
    Signal,
    /// The client has sent bytes and the target is not awake.
    Knock(Chunk),
}

enum Up {
    Moved(bool),
    Knock(Chunk),
}

impl<A: Activator, C: Stream> Session<A, C> {
    /// Copies until both directions rest.
    pub(super) fn poll_relay(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, End>> {
        loop {
            let mut moved = self.poll_down(cx)?;
            match self.poll_up(cx)? {
                Up::Moved(up) => moved |= up,
                Up::Knock(chunk) => return Poll::Ready(Ok(Step::Knock(chunk))),
            }
            self.settle();
            if self.up.flow == Flow::Ended && self.down.flow == Flow::Ended {
                return Poll::Ready(Ok(Step::Done));
            }
            if let Some(closing) = &mut self.closing {
                if moved {
                    closing.as_mut().reset(Instant::now() + self.options.drain_quiet);
                }
                let quiet = closing.as_mut().poll(cx).is_ready();
                if quiet && self.answer == Answer::Given && self.down.is_empty() {
                    return Poll::Ready(Err(End::Close));
                }
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    /// Backend to client, as far as it goes.
    pub(super) fn poll_down(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let Some(link) = &mut self.link else {
            return Ok(false);
        };
        let mut moved = false;
        loop {
            match self.down.poll_write(&mut self.client, cx) {
                Poll::Ready(Ok(wrote)) => moved |= wrote,
                Poll::Ready(Err(_)) => return Err(End::Done),
                Poll::Pending => {
                    // The client does not take its answer: the backend must not be parked over it.
                    if self.exchange.is_none() {
                        self.exchange = self.target.begin();
                    }
                    return Ok(moved);
                }
            }
            if !self.down.is_open() {
                return Ok(moved);
            }
            match poll_chunk(&mut link.stream, BUFFER_BYTES, cx) {
                Poll::Pending => return Ok(moved),
                Poll::Ready(Ok(Some(chunk))) => {
                    self.target.touch();
                    self.down.chunk = Some(chunk);
                    self.wire = Wire::Written;
                    if self.up.is_empty() {
                        self.answer = Answer::Given;
                    }
                    moved = true;
                }
                Poll::Ready(Ok(None)) => {
                    self.down.flow = Flow::Ending;
                    return self.backend_ended().map(|()| true);
                }
                Poll::Ready(Err(_)) => {
                    // A reset: nothing can follow in either direction.
                    return Err(match self.answer {
                        Answer::Due => self.refusal(HoldError::BackendClosed),
                        Answer::Given => End::Close,
                    });
                }
            }
        }
    }

    /// The backend has said all it will. Decides whether that is passed on as a half-close.
    fn backend_ended(&mut self) -> Result<(), End> {
        match self.answer {
            // There is a better way than silence to say so.
            Answer::Due
                if self.wire == Wire::Clean
                    && (self.options.refusal)(&HoldError::BackendClosed).is_some() =>
            {
                Err(self.refusal(HoldError::BackendClosed))
            }
            Answer::Due => {
                self.answer = Answer::Given;
                Ok(())
            }
            // A backend that sleeps cannot half-close: its stream is dead.
            Answer::Given if self.exchange.is_none() && self.target.state() == TargetState::Asleep => {
                Err(End::Close)
            }
            Answer::Given => Ok(()),
        }
    }

    /// Client to backend, as far as it goes.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Result<Up, End> {
        let mut moved = false;
        loop {
            let Some(link) = &mut self.link else {
                return Ok(Up::Moved(moved));
            };
            match self.up.poll_write(&mut link.stream, cx) {
                Poll::Ready(Ok(wrote)) => moved |= wrote,
                Poll::Ready(Err(_)) => {
                    // The backend reads no more; it may have answered nevertheless.
                    self.up.end();
                    return Ok(Up::Moved(true));
                }
                Poll::Pending => return Ok(Up::Moved(moved)),
            }
            if !self.up.is_open() {
                return Ok(Up::Moved(moved));
            }
            match poll_chunk(&mut self.client, BUFFER_BYTES, cx) {
                Poll::Pending => return Ok(Up::Moved(moved)),
                Poll::Ready(Err(_)) => return Err(End::Done),
                Poll::Ready(Ok(None)) => {
                    self.client_ended()?;
                    moved = true;
                }
                Poll::Ready(Ok(Some(chunk))) => {
                    self.target.touch();
                    moved = true;
                    if self.exchange.is_none() {
                        self.exchange = self.target.begin();
                    }
                    if self.down.is_open() {
                        self.answer = Answer::Due;
                    }
                    if self.exchange.is_none() {
                        return Ok(Up::Knock(chunk));
                    }
                    self.up.chunk = Some(chunk);
                }
            }
        }
    }

    /// The client has said all it will. The backend gets to know if it is awake; it is not woken for that.
    fn client_ended(&mut self) -> Result<(), End> {
        if self.exchange.is_none() {
            self.exchange = Some(self.target.begin().ok_or(End::Done)?);
        }
        self.up.flow = Flow::Ending;
        Ok(())
    }
}
