//! Accepting connections and counting them.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::net::{TcpListener, TcpStream};

use super::{TcpOptions, session::Session};
use crate::{Activator, HoldError, Stream, target::Target, time::Timestamp};

/// Pause after an accept that failed for want of something (descriptors, memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Connections above the limit that are refused politely at the same time; more are just closed.
const POLITE_REFUSALS: usize = 128;

pub(crate) fn serve<A: Activator>(listener: TcpListener, target: Arc<Target<A>>, options: TcpOptions) {
    let shared = target.shared().clone();
    shared
        .tracker
        .spawn_on(accept(listener, target, options.into()), &shared.runtime);
}

async fn accept<A: Activator>(listener: TcpListener, target: Arc<Target<A>>, options: Arc<TcpOptions>) {
    let shared = target.shared();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((client, _)) => {
                // Fails only if the client is gone already, which its session will find out.
                let _ = client.set_nodelay(true);
                // It fails only on a socket that is not connected, and then there is nothing to reset.
                let reset = |client: &TcpStream| drop(client.set_zero_linger());
                serve_connection(client, target.clone(), options.clone(), reset);
            }
            // The client left before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                shared
                    .observer
                    .tell(|observer| observer.accept_failed(target.key(), &error));
                tokio::select! {
                    () = shared.stop.cancelled() => return,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
}

/// Serves `client`, which `reset` makes end with a reset when it is dropped.
pub(crate) fn serve_connection<A: Activator, C: Stream>(
    client: C,
    target: Arc<Target<A>>,
    options: Arc<TcpOptions>,
    reset: fn(&C),
) {
    let slot = Slot::take(&target);
    let limit = target.shared().limits.connections_per_target;
    let refused = match slot.place {
        place if place <= limit => None,
        place if place <= limit.saturating_add(POLITE_REFUSALS) => {
            Some(target.refuse(HoldError::TooManyConnections { limit }))
        }
        _ => {
            target.refuse(HoldError::TooManyConnections { limit });
            return;
        }
    };
    let shared = target.shared().clone();
    let session = async move {
        let mut session = Session::new(slot.target.clone(), options, client, reset);
        let outcome = match refused {
            None => session.run().await,
            Some(why) => session.refuse(why).await,
        };
        slot.target.shared().tally.count(outcome);
    };
    shared.tracker.spawn_on(session, &shared.runtime);
}

/// One of a target's connections.
struct Slot<A: Activator> {
    target: Arc<Target<A>>,
    /// How many there were with this one.
    place: usize,
    since: Timestamp,
}

impl<A: Activator> Slot<A> {
    fn take(target: &Arc<Target<A>>) -> Self {
        let place = target.connections().fetch_add(1, Ordering::Relaxed) + 1;
        target
            .shared()
            .observer
            .tell(|observer| observer.connection_opened(target.key()));
        Self {
            target: target.clone(),
            place,
            since: target.shared().clock.now(),
        }
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
