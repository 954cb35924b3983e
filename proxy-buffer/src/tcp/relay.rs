//! Copying in both directions, and seeing exchanges in it.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::AsyncWrite;

use super::{
    buffer::{BUFFER_BYTES, Chunk, poll_chunk},
    session::{End, Session},
};
use crate::{Activator, Party, Stream, TargetState};

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

/// How much of what was read from one side the other has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    All,
    Part,
}

impl Pipe {
    pub(super) fn is_empty(&self) -> bool {
        self.chunk.is_none()
    }

    /// What has become of the bytes that were read.
    pub(super) fn passed(&self) -> Passed {
        match self.chunk {
            None => Passed::All,
            Some(_) => Passed::Part,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.flow == Flow::Open
    }

    fn end(&mut self) {
        self.chunk = None;
        self.flow = Flow::Ended;
    }

    /// Writes what was read, then passes on the end. Says whether something happened, and whether there is more to do.
    fn write<W: AsyncWrite + Unpin>(&mut self, writer: &mut W, cx: &mut Context<'_>) -> io::Result<Wrote> {
        let mut wrote = Wrote::default();
        while let Some(chunk) = &mut self.chunk {
            match Pin::new(&mut *writer).poll_write(cx, chunk.bytes())? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(len) => {
                    wrote.moved = true;
                    chunk.advance(len);
                    if chunk.bytes().is_empty() {
                        self.chunk = None;
                    }
                }
                Poll::Pending => return Ok(Wrote { stuck: true, ..wrote }),
            }
        }
        if self.flow == Flow::Ending {
            if Pin::new(writer).poll_shutdown(cx)?.is_pending() {
                return Ok(Wrote { stuck: true, ..wrote });
            }
            self.flow = Flow::Ended;
            wrote.moved = true;
        }
        Ok(wrote)
    }
}

/// What came of writing.
#[derive(Clone, Copy, Default)]
struct Wrote {
    moved: bool,
    /// The writer takes no more now.
    stuck: bool,
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
                    let clock = self.target.clock();
                    let until = clock.now().after(self.options.drain_quiet);
                    closing.as_mut().reset(clock.deadline(until));
                }
                let quiet = closing.as_mut().poll(cx).is_ready();
                if quiet && self.talk.is_idle() && self.down.is_empty() {
                    return Poll::Ready(Err(End::Close));
                }
            }
            if !moved {
                self.poll_alarm(cx)?;
                self.halt(cx)?;
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
            let wrote = self.down.write(&mut self.client, cx).map_err(|_| End::Done)?;
            if wrote.moved {
                moved = true;
                self.talk.taken(self.target.clock(), Party::Client);
            }
            // A client that does not take its answer keeps the exchange: the backend must not be parked over it.
            if wrote.stuck || !self.down.is_open() {
                return Ok(moved);
            }
            match poll_chunk(&mut link.stream, BUFFER_BYTES, cx) {
                Poll::Pending => return Ok(moved),
                Poll::Ready(Ok(Some(chunk))) => {
                    let now = self.target.touch();
                    link.spoken = true;
                    self.talk.backend_bytes(now, chunk.bytes(), self.up.passed());
                    self.down.chunk = Some(chunk);
                    moved = true;
                }
                Poll::Ready(Ok(None)) => {
                    self.backend_ended()?;
                    self.down.flow = Flow::Ending;
                    return Ok(true);
                }
                Poll::Ready(Err(error)) => {
                    // A reset: nothing can follow in either direction.
                    link.reset = Some(error);
                    return Err(match self.talk.is_due() {
                        true => End::Unanswered(self.talk.closed(self.target.now())),
                        false => End::Close,
                    });
                }
            }
        }
    }

    /// The backend has said all it will. Decides whether that is passed on as a half-close.
    fn backend_ended(&mut self) -> Result<(), End> {
        let due = self.talk.is_due();
        if due && self.talk.may_refuse() {
            let closed = self.talk.closed(self.target.now());
            if (self.options.refusal)(&closed).is_some() {
                // There is a better way than silence to say so.
                return Err(End::Unanswered(closed));
            }
        }
        if !due && self.exchange.is_none() && self.target.state() == TargetState::Asleep {
            // A backend that sleeps cannot half-close: its stream is dead.
            return Err(End::Close);
        }
        self.talk.backend_ended(self.target.now());
        Ok(())
    }

    /// Client to backend, as far as it goes.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Result<Up, End> {
        let mut moved = false;
        loop {
            let Some(link) = &mut self.link else {
                return Ok(Up::Moved(moved));
            };
            let wrote = match self.up.write(&mut link.stream, cx) {
                Ok(wrote) => wrote,
                Err(error) => {
                    // The backend reads no more; it may have answered nevertheless.
                    link.reset = Some(error);
                    self.up.end();
                    self.talk.backend_deaf(self.target.now());
                    return Ok(Up::Moved(true));
                }
            };
            if wrote.moved {
                moved = true;
                self.talk.taken(self.target.clock(), Party::Target);
            }
            if wrote.stuck || !self.up.is_open() || !self.talk.wants_client() {
                return Ok(Up::Moved(moved));
            }
            match self.poll_client(BUFFER_BYTES, cx) {
                Poll::Pending => return Ok(Up::Moved(moved)),
                Poll::Ready(Err(_)) => return Err(End::Done),
                Poll::Ready(Ok(None)) => {
                    self.client_ended()?;
                    moved = true;
                }
                Poll::Ready(Ok(Some(chunk))) => {
                    // Before the backend has any of it: who is to leave is not served any more.
                    self.stir()?;
                    let now = self.target.touch();
                    moved = true;
                    if self.exchange.is_none() {
                        self.exchange = self.target.begin();
                    }
                    self.talk.client_bytes(now, chunk.bytes(), self.down.flow);
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
        self.talk.client_ended(self.target.now());
        Ok(())
    }
}
