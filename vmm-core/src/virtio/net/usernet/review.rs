//! What follows for both ends of a connection when something happened to it.

use std::sync::atomic::Ordering;

use super::tcp::{Ending, Phase, Receiving, Sending};
use super::time::Millis;
use super::usernet::{Host, UserNet};

/// How long the guest may keep a connection whose host end is gone.
const LINGER_MS: u64 = 2_000;

impl UserNet {
    /// Takes payload that the guest sent on a connection.
    pub(super) fn deliver(&mut self, id: u16, payload: &[u8]) {
        let Some(connection) = self.link.connection(id) else {
            return;
        };
        let pushed = match &connection.host.host {
            Host::Stream(stream) if connection.tcp.to_host().is_empty() => stream.push(payload).ok(),
            Host::Stream(_) | Host::Spare => Some(0),
            Host::Gone => None,
        };
        match pushed {
            Some(pushed) => connection.tcp.hold(payload.get(pushed..).unwrap_or_default()),
            None => {
                connection.host.host = Host::Gone;
                connection.tcp.abort();
            }
        }
    }

    /// Something happened to a connection: draws the conclusions for both of its ends.
    pub(super) fn review(&mut self, id: u16) {
        let now = self.now();
        let Some(connection) = self.link.connection(id) else {
            return;
        };
        let (phase, port) = (connection.tcp.state().phase, connection.tcp.state().guest_port);
        if phase == Phase::SynSent {
            return;
        }
        let spare = matches!(connection.host.host, Host::Spare);
        let connected = std::mem::take(&mut connection.host.connecting);
        if connected {
            self.handshakes = self.handshakes.saturating_sub(1);
            let refused = matches!(phase, Phase::Closed(_));
            if refused && spare {
                self.spares.refused(now, port);
                self.shared.counters.spares_lost.increment();
            } else if !refused {
                self.shared.counters.connections_opened.increment();
            }
            if spare && !refused {
                self.spares.opened(port, id);
                self.announce_spares();
            }
        }
        match phase {
            Phase::Closed(_) => self.close(id),
            _ if spare => self.review_spare(id),
            _ => self.exchange(id),
        }
        while connected && self.handshakes < self.config.max_handshakes {
            let Some(first) = self.waiting.pop_front() else {
                break;
            };
            self.serve(first.request);
        }
    }

    /// A spare that the guest has ended is of no use. Its bytes, if it has any, are for whoever will use it.
    fn review_spare(&mut self, id: u16) {
        let now = self.now();
        let Some(connection) = self.link.connection(id) else {
            return;
        };
        if connection.tcp.state().receiving == Receiving::Done {
            let port = connection.tcp.state().guest_port;
            connection.host.host = Host::Gone;
            connection.tcp.abort();
            self.shared.adopt();
            self.lose_spare(now, port, id);
        }
    }

    /// Moves bytes between the two ends of a connection.
    fn exchange(&mut self, id: u16) {
        let now = self.now();
        let Some(connection) = self.link.connection(id) else {
            return;
        };
        if let Host::Stream(stream) = &mut connection.host.host {
            if stream.exchange(&mut connection.tcp).is_err() {
                // The host is gone and has left bytes of the guest unread.
                connection.host.host = Host::Gone;
                connection.tcp.abort();
            } else {
                if stream.hung_up && connection.tcp.state().sending == Sending::Done {
                    connection.tcp.linger(now.plus(LINGER_MS));
                }
                if stream.wanted(&connection.tcp) != stream.interest {
                    self.unregistered.push(id);
                }
            }
        }
        self.link.touch(id);
    }

    /// Forgets a connection that is over.
    pub(super) fn close(&mut self, id: u16) {
        let now = self.now();
        let Some(connection) = self.link.remove(id) else {
            return;
        };
        let counters = &self.shared.counters;
        match connection.tcp.state().phase {
            Phase::Closed(Ending::Refused) => counters.connections_refused.increment(),
            Phase::Closed(Ending::Reset) => counters.connections_reset.increment(),
            Phase::Closed(Ending::TimedOut) => counters.connections_timed_out.increment(),
            _ => {}
        }
        match connection.host.host {
            Host::Spare => self.lose_spare(now, connection.tcp.state().guest_port, id),
            // Dropping the stream closes it, which also ends its registration.
            Host::Stream(_) | Host::Gone => self.shared.release(),
        }
    }

    fn lose_spare(&mut self, now: Millis, port: u16, id: u16) {
        if self.spares.lost(now, port, id) {
            self.shared.counters.spares_lost.increment();
            self.announce_spares();
        }
    }

    pub(super) fn announce_spares(&self) {
        let ready = self.spares.is_full();
        if !self.shared.spares_ready.swap(ready, Ordering::AcqRel) && ready {
            // It can only fail when the counter is full, and then it is signalled.
            let _ = self.shared.spares_event.write(1);
        }
    }
}
