//! Waiting for the head of a request before the target is woken for it.

use std::{
    future::poll_fn,
    task::{Context, Poll},
};

use tokio::{io::ReadBuf, sync::watch};

use super::{
    buffer::HeldBytes,
    hold::HOLD_STEP_BYTES,
    session::{End, Session},
};
use crate::{
    Activator, HoldError, Stream,
    signal::{Signal, Stage},
};

impl<A: Activator, C: Stream> Session<A, C> {
    /// Takes in the rest of a head that has begun: half of one wakes nothing, however it comes. Its time is
    /// [`Limits::request_time`](crate::Limits::request_time), which goes on.
    pub(super) async fn await_head(
        &mut self,
        held: &mut HeldBytes,
        signal: &mut watch::Receiver<Signal>,
    ) -> Result<(), End> {
        while self.talk.awaits_head() {
            tokio::select! {
                biased;
                read = poll_fn(|cx| self.poll_head(held, cx)) => read?,
                _ = signal.changed() => {
                    self.heed(signal)?;
                    if signal.borrow().stage != Stage::Open {
                        // It would not get in.
                        return Err(self.refusal(HoldError::Draining));
                    }
                }
            }
        }
        held.shrink();
        Ok(())
    }

    fn poll_head(&mut self, held: &mut HeldBytes, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        if held.room().is_empty() {
            let limit_bytes = self.target.shared().limits.held_bytes_per_connection;
            let step = limit_bytes.saturating_sub(held.len()).min(HOLD_STEP_BYTES);
            if step == 0 {
                return Poll::Ready(Err(self.refusal(HoldError::HeadTooLong { limit_bytes })));
            }
            held.reserve(step).map_err(|why| self.refusal(why))?;
        }
        let mut room = ReadBuf::new(held.room());
        let read = std::pin::Pin::new(&mut self.client).poll_read(cx, &mut room);
        let bytes = room.filled();
        match read {
            Poll::Ready(Ok(())) if !bytes.is_empty() => {
                self.stir()?;
                self.talk.client_bytes(self.target.now(), bytes, self.down.flow);
                let len = bytes.len();
                held.fill(len);
                return Poll::Ready(Ok(()));
            }
            // What it left behind is no request, and will not become one.
            Poll::Ready(_) => return Poll::Ready(Err(End::Done)),
            Poll::Pending => {}
        }
        self.poll_down(cx)?;
        if self.link.is_some() && !self.down.is_open() {
            // Nobody is left to read it.
            return Poll::Ready(Err(End::Close));
        }
        self.poll_alarm(cx)?;
        self.halt(cx)?;
        Poll::Pending
    }
}
