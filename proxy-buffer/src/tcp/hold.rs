//! Waiting at the gate.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::ReadBuf,
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    buffer::{Chunk, HeldBytes},
    relay::Flow,
    session::{End, Session},
};
use crate::{
    Activator, Stream,
    exchange::Passage,
    gate::Entrant,
    signal::Signal,
    target::{Knock, Ticket},
};

/// Held bytes are reserved in steps of this size.
pub(super) const HOLD_STEP_BYTES: usize = 4 * 1024;

impl<A: Activator, C: Stream> Session<A, C> {
    /// Holds the client's bytes until the target is awake, which is woken once a head is complete. More bytes are taken up to the limits, then left to TCP.
    pub(super) async fn hold(
        &mut self,
        entrant: Entrant,
        chunk: Option<Chunk>,
        signal: &mut watch::Receiver<Signal>,
    ) -> Result<Passage<A>, End> {
        if self.down.is_empty() {
            self.talk.held();
        }
        let bytes = chunk.as_ref().map_or(&[][..], Chunk::bytes);
        let mut held =
            HeldBytes::copy(bytes, &self.target.shared().budget).map_err(|why| self.refusal(why))?;
        drop(chunk);
        if self.talk.awaits_head() {
            // Boxed, because most heads come in one piece.
            Box::pin(self.await_head(&mut held, signal)).await?;
        }
        let mut ticket = match self.target.knock(entrant, held.len()).map_err(End::Refuse)? {
            Knock::Passed(passage) => {
                self.up.chunk = held.release();
                return Ok(passage);
            }
            Knock::Held(ticket) => ticket,
        };
        let mut time_over = pin!(sleep_until(self.target.shared().clock.deadline(ticket.deadline)));
        let passage = loop {
            tokio::select! {
                biased;
                passage = poll_fn(|cx| self.poll_held(&mut ticket, &mut held, cx)) => break passage?,
                () = &mut time_over => {
                    self.target.expire();
                    // The verdict is there now; should it not be, look again.
                    time_over.as_mut().reset(Instant::now() + Duration::from_millis(1));
                }
                _ = signal.changed() => match self.heed(signal) {
                    // The gate refuses who waits at the deadline.
                    Ok(()) | Err(End::Abort) => {}
                    Err(end) => return Err(end),
                },
            }
        };
        self.up.chunk = held.release();
        Ok(passage)
    }

    fn poll_held(
        &mut self,
        ticket: &mut Ticket<A>,
        held: &mut HeldBytes,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Passage<A>, End>> {
        if let Poll::Ready(verdict) = Pin::new(&mut ticket.verdict).poll(cx) {
            return Poll::Ready(match verdict {
                Ok(Ok(passage)) => Ok(passage),
                Ok(Err(why)) => Err(End::Refuse(why)),
                Err(_) => Err(End::Abort),
            });
        }
        while self.up.is_open() && self.poll_fill(ticket, held, cx)?.is_ready() {}
        self.poll_down(cx)?;
        if self.link.is_some() && !self.down.is_open() {
            // Nobody is left to read what is held. It has not had it for any time.
            let clock = self.target.clock();
            self.talk.resumed(clock);
            return Poll::Ready(Err(End::Unanswered(self.talk.closed(clock.now()))));
        }
        Poll::Pending
    }

    /// Reads more of the request, while there is room for it.
    fn poll_fill(
        &mut self,
        ticket: &Ticket<A>,
        held: &mut HeldBytes,
        cx: &mut Context<'_>,
    ) -> Result<Poll<()>, End> {
        if held.room().is_empty() {
            let most = self.target.shared().limits.held_bytes_per_connection;
            let step = most.saturating_sub(held.len()).min(HOLD_STEP_BYTES);
            if step == 0 || held.reserve(step).is_err() {
                return Ok(Poll::Pending);
            }
            if !ticket.grow(step) {
                held.shrink();
                return Ok(Poll::Pending);
            }
        }
        let mut room = ReadBuf::new(held.room());
        match Pin::new(&mut self.client).poll_read(cx, &mut room) {
            Poll::Pending => return Ok(Poll::Pending),
            // The client is gone.
            Poll::Ready(Err(_)) => return Err(End::Done),
            Poll::Ready(Ok(())) => {}
        }
        let read = room.filled();
        if !read.is_empty() {
            self.talk.client_bytes(self.target.now(), read, self.down.flow);
        }
        match read.len() {
            0 if held.len() == 0 => return Err(End::Done),
            0 => {
                self.up.flow = Flow::Ending;
                self.talk.client_ended(self.target.now());
            }
            len => held.fill(len),
        }
        Ok(Poll::Ready(()))
    }
}
