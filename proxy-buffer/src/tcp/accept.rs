//! Accepting connections, and finding a seat for each.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::net::{TcpListener, TcpStream};

use super::{TcpOptions, session::Session};
use crate::{Activator, HoldError, Stream, drain::Outcome, seats::Seat, target::Target, time::Timestamp};

/// Pause after an accept that failed for want of something (descriptors, memory); doubled each time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Connections without a seat that wait for one outside of a backlog, or are refused politely, at the same time. More are
/// just closed.
pub(crate) const LOBBY: usize = 32;

pub(crate) fn serve<A: Activator>(listener: TcpListener, target: Arc<Target<A>>, options: TcpOptions) {
    let shared = target.shared().clone();
    shared
        .tracker
        .spawn_on(accept(listener, target, options.into()), &shared.runtime);
}

async fn accept<A: Activator>(listener: TcpListener, target: Arc<Target<A>>, options: Arc<TcpOptions>) {
    let shared = target.shared();
    let mut trouble = Trouble::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                trouble.pause = Duration::ZERO;
                // Fails only if the client is gone already, which its session will find out.
                let _ = stream.set_nodelay(true);
                let client = Client {
                    slot: Slot::take(&target),
                    options: options.clone(),
                    stream,
                    // It fails only on a socket that is not connected, and then there is nothing to reset.
                    reset: |stream: &TcpStream| drop(stream.set_zero_linger()),
                };
                // While this one waits for its seat, the next ones stay in the backlog.
                let seat = match target.row().try_take() {
                    Some(seat) => Ok(seat),
                    None => find_seat(&target).await,
                };
                match seat {
                    Ok(seat) => client.serve(seat),
                    Err(why) => client.turn_away(why),
                }
            }
            // The client left before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                let pause = trouble.with(&error, &target);
                tokio::select! {
                    () = shared.stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

/// Accepting fails again and again.
#[derive(Default)]
struct Trouble {
    pause: Duration,
    told: Option<Timestamp>,
}

impl Trouble {
    /// Tells the observer, but not too often, and says how long to pause.
    fn with<A: Activator>(&mut self, error: &io::Error, target: &Target<A>) -> Duration {
        let now = target.now();
        if self.told.is_none_or(|told| now.since(told) >= LONGEST_PAUSE) {
            self.told = Some(now);
            let shared = target.shared();
            shared
                .observer
                .tell(|observer| observer.accept_failed(target.key(), error));
        }
        self.pause = (self.pause * 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        self.pause
    }
}

/// Serves a client that was accepted elsewhere; `reset` makes `stream` end with a reset when it is dropped.
pub(crate) fn serve_connection<A: Activator, C: Stream>(
    stream: C,
    target: Arc<Target<A>>,
    options: Arc<TcpOptions>,
    reset: fn(&C),
) {
    let client = Client {
        slot: Slot::take(&target),
        options,
        stream,
        reset,
    };
    if let Some(seat) = target.row().try_take() {
        return client.serve(seat);
    }
    let shared = target.shared().clone();
    let Ok(permit) = shared.lobby.clone().try_acquire_owned() else {
        // There is no room to say so.
        return drop(target.refuse(target.row().too_many()));
    };
    let waiting = async move {
        let seat = find_seat(&target).await;
        drop(permit);
        match seat {
            Ok(seat) => client.serve(seat),
            Err(why) => client.turn_away(why),
        }
    };
    shared.tracker.spawn_on(waiting, &shared.runtime);
}

/// Waits for a seat, unless the proxy drains.
async fn find_seat<A: Activator>(target: &Target<A>) -> Result<Seat, HoldError> {
    tokio::select! {
        biased;
        () = target.shared().stop.cancelled() => Err(HoldError::Draining),
        seat = target.row().take() => seat,
    }
}

/// A client that has connected.
struct Client<A: Activator, C> {
    slot: Slot<A>,
    options: Arc<TcpOptions>,
    stream: C,
    reset: fn(&C),
}

impl<A: Activator, C: Stream> Client<A, C> {
    fn serve(self, seat: Seat) {
        let (mut session, slot) = self.into_session(Some(seat));
        let shared = slot.target.shared().clone();
        let serving = async move {
            let outcome = session.run().await;
            drop(session);
            slot.end(outcome);
        };
        shared.tracker.spawn_on(serving, &shared.runtime);
    }

    /// Refuses it in a task of its own, if there are not too many of them.
    fn turn_away(self, why: HoldError) {
        let why = self.slot.target.refuse(why);
        let shared = self.slot.target.shared().clone();
        let Ok(permit) = shared.lobby.clone().try_acquire_owned() else {
            return;
        };
        let (mut session, slot) = self.into_session(None);
        let refusal = async move {
            let outcome = session.refuse(why).await;
            drop((session, permit));
            slot.end(outcome);
        };
        shared.tracker.spawn_on(refusal, &shared.runtime);
    }

    fn into_session(self, seat: Option<Seat>) -> (Session<A, C>, Slot<A>) {
        let Self {
            slot,
            options,
            stream,
            reset,
        } = self;
        let session = Session::new(slot.target.clone(), options, stream, reset, seat);
        (session, slot)
    }
}

/// One of a target's connections.
struct Slot<A: Activator> {
    target: Arc<Target<A>>,
    since: Timestamp,
}

impl<A: Activator> Slot<A> {
    fn take(target: &Arc<Target<A>>) -> Self {
        target.connections().fetch_add(1, Ordering::Relaxed);
        target
            .shared()
            .observer
            .tell(|observer| observer.connection_opened(target.key()));
        Self {
            target: target.clone(),
            since: target.shared().clock.now(),
        }
    }

    fn end(self, outcome: Outcome) {
        self.target.shared().tally.count(outcome);
    }
}

impl<A: Activator> Drop for Slot<A> {
    fn drop(&mut self) {
        let shared = self.target.shared();
        self.target.connections().fetch_sub(1, Ordering::Relaxed);
        let open_for = shared.clock.now().since(self.since);
        shared
            .observer
            .tell(|observer| observer.connection_closed(self.target.key(), open_for));
    }
}
