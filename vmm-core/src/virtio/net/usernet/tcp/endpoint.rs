//! Our end of one connection, as the host side uses it.

use serde::{Deserialize, Serialize};

use super::state::{Phase, Receiving, Sending, TcpState, TcpStateError};
use super::timer::Timer;
use super::{ByteRing, DEFAULT_MSS, RECEIVE_CAPACITY, SEND_CAPACITY, Seq};
use crate::virtio::net::usernet::time::{Millis, earliest};

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ending {
    /// The guest refused it.
    Refused,
    /// The guest reset it.
    Reset,
    /// We reset it.
    Aborted,
    /// The guest did not answer.
    TimedOut,
}

/// Our end of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(super) state: TcpState,
    /// From `snd_una` on: bytes for the guest that it has not acknowledged.
    pub(super) to_guest: ByteRing,
    /// Up to `rcv_nxt`: bytes of the guest that the host has not taken.
    pub(super) to_host: ByteRing,
    pub(super) timer: Timer,
    /// The connection has no host side any more and ends by then.
    linger: Option<Millis>,
    /// The timer went off: one byte may be sent past the window (RFC 9293, section 3.8.6.1).
    pub(super) probe: bool,
}

impl Endpoint {
    /// A connection from `host_port` to `guest_port` whose first sequence number is `iss`. The SYN is the first thing
    /// that [`poll`](Self::poll) answers. `max_mss` is what the link carries.
    pub(crate) fn connect(host_port: u16, guest_port: u16, iss: Seq, max_mss: u16) -> Self {
        Endpoint::with_state(TcpState {
            phase: Phase::SynSent,
            sending: Sending::Open,
            receiving: Receiving::Open,
            host_port,
            guest_port,
            snd_una: iss,
            snd_nxt: iss,
            snd_max: iss,
            snd_wnd: 0,
            snd_wl1: Seq(0),
            snd_wl2: iss,
            rcv_nxt: Seq(0),
            rcv_adv: Seq(0),
            mss: DEFAULT_MSS.min(max_mss),
            ack_due: false,
        })
    }

    fn with_state(state: TcpState) -> Self {
        Endpoint {
            state,
            to_guest: ByteRing::new(SEND_CAPACITY),
            to_host: ByteRing::new(RECEIVE_CAPACITY),
            timer: Timer::default(),
            linger: None,
            probe: false,
        }
    }

    /// A saved connection, going on at `now`. Its timers start over.
    ///
    /// # Errors
    /// The state contradicts itself.
    pub(crate) fn restore(
        now: Millis,
        state: TcpState,
        to_guest: &[u8],
        to_host: &[u8],
        max_mss: u16,
    ) -> Result<Self, TcpStateError> {
        state.check(to_guest.len(), to_host.len(), max_mss)?;
        let mut endpoint = Endpoint::with_state(state);
        endpoint.to_guest.extend(to_guest);
        endpoint.to_host.extend(to_host);
        if endpoint.state.snd_una != endpoint.state.snd_max {
            endpoint.timer.start(now);
        }
        Ok(endpoint)
    }

    pub(crate) fn state(&self) -> &TcpState {
        &self.state
    }

    /// Bytes for the guest that it has not acknowledged.
    pub(crate) fn to_guest(&self) -> &ByteRing {
        &self.to_guest
    }

    /// Where the host puts bytes for the guest. Nothing may be added after [`finish`](Self::finish).
    pub(crate) fn to_guest_mut(&mut self) -> &mut ByteRing {
        &mut self.to_guest
    }

    /// Bytes of the guest that the host has not taken.
    pub(crate) fn to_host(&self) -> &ByteRing {
        &self.to_host
    }

    /// Keeps bytes that [`input`](Self::input) accepted and the host could not take at once.
    pub(crate) fn hold(&mut self, bytes: &[u8]) {
        let held = self.to_host.extend(bytes);
        debug_assert_eq!(held, bytes.len(), "no more is accepted than fits");
    }

    /// The host took the oldest `count` held bytes.
    pub(crate) fn taken(&mut self, count: usize) {
        self.to_host.consume(count);
        let known = self.state.rcv_adv.distance(self.state.rcv_nxt);
        let grown = usize::from(self.window()).saturating_sub(known);
        // The guest learns of a larger window when it has grown enough to matter (RFC 9293, section 3.8.6.2.2).
        if grown >= (2 * usize::from(self.state.mss)).min(RECEIVE_CAPACITY / 2) {
            self.state.ack_due = true;
        }
    }

    /// The host has no more bytes for the guest.
    pub(crate) fn finish(&mut self) {
        if self.state.sending == Sending::Open {
            self.state.sending = Sending::Fin;
        }
    }

    /// The host is gone: the guest has until `deadline` to end the connection.
    pub(crate) fn linger(&mut self, deadline: Millis) {
        self.linger.get_or_insert(deadline);
    }

    /// Ends the connection with a reset.
    pub(crate) fn abort(&mut self) {
        self.state.phase = match self.state.phase {
            // An answer to our SYN will find no connection and be reset.
            Phase::SynSent => Phase::Closed(Ending::Aborted),
            Phase::Open => Phase::Aborting,
            phase @ (Phase::Aborting | Phase::Closed(_)) => phase,
        };
    }

    /// Lets timers that have come due act.
    pub(crate) fn expire(&mut self, now: Millis) {
        match self.timer.expire(now) {
            None => {}
            // The guest does not even take the reset. It gets another one if it ever speaks again.
            Some(_) if self.state.phase == Phase::Aborting => {
                self.state.phase = Phase::Closed(Ending::Aborted);
            }
            Some(true) => {
                self.state.snd_nxt = self.state.snd_una;
                self.probe = true;
            }
            Some(false) if self.state.phase == Phase::SynSent => {
                self.state.phase = Phase::Closed(Ending::TimedOut);
            }
            Some(false) => {
                self.abort();
                self.timer = Timer::default();
            }
        }
        if self.linger.is_some_and(|deadline| deadline <= now) {
            self.linger = None;
            self.abort();
        }
    }

    /// The guest takes no frames: its time to answer runs all the same.
    pub(crate) fn stalled(&mut self, now: Millis) {
        let waits = match self.state.phase {
            Phase::SynSent | Phase::Aborting => true,
            Phase::Open => !self.to_guest.is_empty() || self.state.sending == Sending::Fin,
            Phase::Closed(_) => false,
        };
        if waits {
            self.timer.start(now);
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        earliest(self.timer.deadline, self.linger)
    }

    /// The guest has sent all it will send and the host has taken it.
    pub(crate) fn host_has_all(&self) -> bool {
        self.state.receiving == Receiving::Done && self.to_host.is_empty()
    }

    /// Nothing more will happen: the connection can be forgotten.
    pub(crate) fn is_over(&self) -> bool {
        match self.state.phase {
            Phase::Closed(_) => true,
            Phase::Open => self.state.sending == Sending::Done && self.host_has_all() && !self.state.ack_due,
            Phase::SynSent | Phase::Aborting => false,
        }
    }

    /// Established, and neither side waits for the other or has anything under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.state.phase == Phase::Open
            && self.state.sending != Sending::Fin
            && !self.state.ack_due
            && self.to_guest.is_empty()
            && self.to_host.is_empty()
    }

    /// The window we can give the guest.
    pub(super) fn window(&self) -> u16 {
        u16::try_from(self.to_host.free()).unwrap_or(u16::MAX)
    }
}
