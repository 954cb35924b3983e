//! One client connection from its first byte to its last.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
    time::{Sleep, sleep, timeout},
};

use super::{
    OpenConnections, TcpOptions, WakeOn,
    buffer::{BUFFER_BYTES, Chunk, poll_chunk},
    relay::{Flow, Passed, Pipe, Step},
    talk::Talk,
};
use crate::{
    Activator, Backend, HoldError, Stream,
    drain::Outcome,
    exchange::{Exchange, Passage},
    gate::Entrant,
    seats::Seat,
    signal::{Lineage, Signal, Stage},
    target::Target,
};

/// A client, and the backend stream that belongs to it once it has passed the gate.
pub(super) struct Session<A: Activator, C> {
    pub(super) target: Arc<Target<A>>,
    pub(super) options: Arc<TcpOptions>,
    pub(super) client: C,
    pub(super) link: Option<Link<<A::Backend as Backend>::Stream>>,
    /// Client to backend.
    pub(super) up: Pipe,
    /// Backend to client.
    pub(super) down: Pipe,
    pub(super) exchange: Option<Exchange<A>>,
    pub(super) talk: Talk,
    /// Rings at the talk's deadline, or before it: then it is set anew.
    pub(super) alarm: Option<Pin<Box<Sleep>>>,
    /// Lets the client's stream end with a reset when it is dropped.
    reset: fn(&C),
    /// Set while the proxy drains; restarted by every byte.
    pub(super) closing: Option<Pin<Box<Sleep>>>,
    /// Last, so that it is free when the streams are closed. Who is only turned away has none.
    pub(super) seat: Option<Seat>,
}

/// A stream to the backend.
pub(super) struct Link<S> {
    pub(super) stream: S,
    lineage: Lineage,
    /// The backend has sent something on it.
    pub(super) spoken: bool,
    /// The error with which the backend broke it off.
    pub(super) reset: Option<io::Error>,
}

/// How long a backend that refused or ended a connection waits for the owner's word that it was lost.
const LOSS_GRACE: Duration = Duration::from_millis(100);

/// What came of connecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connected {
    Linked,
    /// The owner said meanwhile that the backend is gone.
    Lost,
}

/// Why a session ends.
#[derive(Debug)]
pub(super) enum End {
    /// Both directions have ended, or the client is gone: nothing is left to say.
    Done,
    /// To be closed, but nothing was under way.
    Close,
    Refuse(HoldError),
    /// The backend ended the connection although it owes an answer. Its owner may be about to say why.
    Unanswered(HoldError),
    /// The drain's deadline.
    Abort,
}

impl<A: Activator, C: Stream> Session<A, C> {
    pub(super) fn new(
        target: Arc<Target<A>>,
        options: Arc<TcpOptions>,
        client: C,
        reset: fn(&C),
        seat: Option<Seat>,
    ) -> Self {
        Self {
            talk: Talk::new(options.protocol),
            alarm: None,
            reset,
            target,
            options,
            client,
            link: None,
            up: Pipe::default(),
            down: Pipe::default(),
            exchange: None,
            closing: None,
            seat,
        }
    }

    /// Serves the client to its end. (By reference, because each async function that takes a value keeps a copy of it.)
    pub(super) async fn run(&mut self) -> Outcome {
        let mut signal = self.target.signal();
        if signal.borrow().stage != Stage::Open {
            signal.mark_changed();
        }
        let end = match self.drive(&mut signal).await {
            Ok(()) => End::Done,
            Err(End::Unanswered(closed)) => Box::pin(self.unanswered(closed, &mut signal)).await,
            Err(end) => end,
        };
        match end {
            End::Done => Outcome::Finished,
            End::Close => {
                Box::pin(self.close(None)).await;
                Outcome::Finished
            }
            End::Refuse(why) => self.refuse(why).await,
            End::Unanswered(_) | End::Abort => {
                if self.talk.is_broken_off(self.down.passed()) {
                    (self.reset)(&self.client);
                }
                Outcome::Aborted
            }
        }
    }

    /// Turns the client away. The refusal has been reported.
    pub(super) async fn refuse(&mut self, why: HoldError) -> Outcome {
        let passed = self.down.passed();
        if self.talk.is_broken_off(passed) {
            (self.reset)(&self.client);
            return Outcome::Refused;
        }
        let reply = (passed == Passed::All && self.talk.may_refuse()).then(|| (self.options.refusal)(&why));
        Box::pin(self.close(reply.flatten())).await;
        Outcome::Refused
    }

    /// The backend has ended the connection without an answer. Says why, as far as can be known.
    async fn unanswered(&mut self, closed: HoldError, signal: &mut watch::Receiver<Signal>) -> End {
        let Some(Link {
            lineage,
            spoken,
            reset,
            ..
        }) = self.link.take()
        else {
            return self.refusal(closed);
        };
        if was_lost(lineage, signal).await {
            let now = signal.borrow().clone();
            return self.refusal(lost(&now));
        }
        if signal.borrow().stage == Stage::Over {
            return End::Abort;
        }
        // What has it for longer than that, and then resets it, had the connection and the request.
        let limit = self.target.shared().limits.connect_time;
        let soon = matches!(closed, HoldError::BackendClosed { waited, .. } if waited < limit);
        self.refusal(match reset {
            // Nothing has ever come from it: it would not have the connection.
            Some(reset) if !spoken && soon => HoldError::ConnectRefused(reset.into()),
            _ => closed,
        })
    }

    async fn drive(&mut self, signal: &mut watch::Receiver<Signal>) -> Result<(), End> {
        let first = match self.options.wake_on {
            WakeOn::FirstBytes => Some(self.first_bytes(signal).await?),
            WakeOn::Accept => None,
        };
        let backend = self.pass(first, signal).await?;
        // Boxed, because it lives for a moment and the session for long.
        if Box::pin(self.connect(backend, signal)).await? == Connected::Lost {
            // Nothing has reached the backend that died: the request may wait for the next one (RFC 9110, 9.2.2). Once, so that
            // a request that kills every backend is not tried for ever.
            self.exchange = None;
            let chunk = self.up.chunk.take();
            let backend = self.pass(chunk, signal).await?;
            if Box::pin(self.connect(backend, signal)).await? == Connected::Lost {
                let now = signal.borrow().clone();
                return Err(self.refusal(lost(&now)));
            }
        }
        self.talk.resumed(self.target.clock());
        loop {
            let step = tokio::select! {
                biased;
                step = poll_fn(|cx| self.poll_relay(cx)) => step?,
                _ = signal.changed() => Step::Signal,
            };
            match step {
                Step::Done => return Ok(()),
                Step::Signal => self.heed(signal)?,
                Step::Knock(chunk) => {
                    drop(self.pass(Some(chunk), signal).await?);
                    self.talk.resumed(self.target.clock());
                }
            }
        }
    }

    /// Waits for the client to speak, without a buffer.
    async fn first_bytes(&mut self, signal: &mut watch::Receiver<Signal>) -> Result<Chunk, End> {
        let most = self.target.shared().limits.held_bytes_per_connection;
        loop {
            let read = tokio::select! {
                biased;
                read = poll_fn(|cx| self.poll_first(most, cx)) => read?,
                _ = signal.changed() => {
                    match signal.borrow_and_update().stage {
                        Stage::Open => continue,
                        Stage::Draining | Stage::Over => return Err(End::Close),
                    }
                }
            };
            return match read {
                Ok(Some(chunk)) => {
                    self.talk
                        .client_bytes(self.target.now(), chunk.bytes(), Flow::Open);
                    Ok(chunk)
                }
                // It left without having said a word.
                Ok(None) | Err(_) => Err(End::Done),
            };
        }
    }

    fn poll_first(
        &mut self,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<io::Result<Option<Chunk>>, End>> {
        let read = self.poll_client(most, cx);
        match read.is_pending() {
            true => self.rest(cx)?,
            false => self.stir()?,
        }
        read.map(Ok)
    }

    /// Reads what the client says; `None` is its end.
    pub(super) fn poll_client(
        &mut self,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Chunk>>> {
        loop {
            let Some(mut chunk) = ready!(poll_chunk(&mut self.client, most, cx))? else {
                return Poll::Ready(Ok(None));
            };
            chunk.advance(self.talk.empty_lines(chunk.bytes()));
            if !chunk.bytes().is_empty() {
                return Poll::Ready(Ok(Some(chunk)));
            }
        }
    }

    /// Passes the gate with the client's bytes, at once or after having been held.
    async fn pass(
        &mut self,
        chunk: Option<Chunk>,
        signal: &mut watch::Receiver<Signal>,
    ) -> Result<(A::Backend, Lineage), End> {
        let entrant = if self.link.is_some() {
            Entrant::Connected
        } else {
            Entrant::Fresh
        };
        let passage = match self.target.admit(entrant) {
            Some(passage) => {
                self.up.chunk = chunk;
                passage
            }
            // Boxed, so that a connection that is not held does not carry the room for it.
            None => Box::pin(self.hold(entrant, chunk, signal)).await?,
        };
        let Passage {
            exchange,
            backend,
            lineage,
        } = passage;
        self.exchange = Some(exchange);
        self.target.touch();
        Ok((backend, lineage))
    }

    async fn connect(
        &mut self,
        (backend, lineage): (A::Backend, Lineage),
        signal: &mut watch::Receiver<Signal>,
    ) -> Result<Connected, End> {
        let limit = self.target.shared().limits.connect_time;
        let mut connecting = pin!(timeout(limit, backend.connect()));
        loop {
            let connected = tokio::select! {
                biased;
                connected = &mut connecting => connected,
                _ = signal.changed() => {
                    self.heed(signal)?;
                    if signal.borrow().lineage != lineage {
                        return Ok(Connected::Lost);
                    }
                    continue;
                }
            };
            let error = match connected {
                Ok(Ok(_)) if signal.borrow().lineage != lineage => return Ok(Connected::Lost),
                Ok(Ok(stream)) => {
                    self.link = Some(Link {
                        stream,
                        lineage,
                        spoken: false,
                        reset: None,
                    });
                    return Ok(Connected::Linked);
                }
                Ok(Err(error)) => error,
                Err(elapsed) => elapsed.into(),
            };
            if was_lost(lineage, signal).await {
                return Ok(Connected::Lost);
            }
            return Err(self.refusal(HoldError::connect(error)));
        }
    }

    /// Does what the owner or the drain asks.
    pub(super) fn heed(&mut self, signal: &mut watch::Receiver<Signal>) -> Result<(), End> {
        let now = signal.borrow_and_update().clone();
        if self.link.as_ref().is_some_and(|link| link.lineage != now.lineage) {
            return Err(match self.talk.is_idle() {
                false => self.refusal(lost(&now)),
                true => End::Close,
            });
        }
        match now.stage {
            Stage::Open => Ok(()),
            Stage::Draining => {
                let quiet = self.options.drain_quiet;
                self.closing.get_or_insert_with(|| Box::pin(sleep(quiet)));
                Ok(())
            }
            Stage::Over => Err(End::Abort),
        }
    }

    /// A refusal that the gate has not reported.
    pub(super) fn refusal(&self, why: HoldError) -> End {
        End::Refuse(self.target.refuse(why))
    }

    /// Ends the exchange if the backend has nothing to do, and begins one if it has.
    pub(super) fn settle(&mut self) {
        let quiet = !self.talk.is_due() && self.down.is_empty() && self.up.is_empty() && self.up.is_open();
        if !quiet && self.exchange.is_none() {
            // A target that is not awake has nothing to do.
            self.exchange = self.target.begin();
        } else if quiet && self.exchange.is_some() && self.may_rest() {
            self.exchange = None;
        }
    }

    /// Whether a quiet connection may let go of its backend. Not at once in a body: each of its parts would begin an exchange.
    fn may_rest(&self) -> bool {
        self.options.open_connections == OpenConnections::KeepAcrossSleep
            && self
                .talk
                .flows_until()
                .is_none_or(|until| until <= self.target.now())
    }

    /// Closes towards the client so that `reply` arrives: a socket that is dropped with unread bytes resets the
    /// connection, and what was written last may be lost.
    async fn close(&mut self, reply: Option<Bytes>) {
        self.exchange = None;
        self.link = None;
        let linger_time = self.options.linger_time;
        let linger_bytes = u64::try_from(self.options.linger_bytes).unwrap_or(u64::MAX);
        let farewell = async {
            if let Some(reply) = reply {
                self.client.write_all(&reply).await?;
            }
            self.client.shutdown().await?;
            let mut drained = (&mut self.client).take(linger_bytes);
            while let Some(chunk) = poll_fn(|cx| poll_chunk(&mut drained, BUFFER_BYTES, cx)).await? {
                drop(chunk);
            }
            Ok::<_, io::Error>(())
        };
        // Late or broken off: the connection is dropped either way.
        let _ = timeout(linger_time, farewell).await;
    }
}

/// Whether the backend of `lineage` has died: its owner hears of it when we do, and may be about to say so.
async fn was_lost(lineage: Lineage, signal: &mut watch::Receiver<Signal>) -> bool {
    let said = signal.wait_for(|now| now.lineage != lineage || now.stage == Stage::Over);
    let said = timeout(LOSS_GRACE, said).await;
    said.is_ok_and(|said| said.is_ok_and(|now| now.lineage != lineage))
}

fn lost(signal: &Signal) -> HoldError {
    HoldError::BackendLost {
        reason: signal.lost.clone().unwrap_or_default(),
    }
}
