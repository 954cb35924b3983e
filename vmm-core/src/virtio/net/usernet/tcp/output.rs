//! Segments for the guest.

use std::ops::Range;

use super::endpoint::{Ending, Endpoint};
use super::state::{Phase, Sending};
use crate::virtio::net::usernet::time::Millis;
use crate::virtio::net::usernet::wire::tcp::{Flags, Segment};

/// A segment to be sent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) segment: Segment,
    /// Its payload, as a range of [`Endpoint::to_guest`].
    pub(crate) payload: Range<usize>,
}

impl Endpoint {
    /// The next segment to send. It counts as sent. `max_mss` is what the link carries.
    pub(crate) fn poll(&mut self, now: Millis, max_mss: u16) -> Option<Outgoing> {
        match self.state.phase {
            Phase::SynSent => self.poll_syn(now, max_mss),
            Phase::Open => self.poll_data(now).or_else(|| self.poll_ack()),
            Phase::Aborting => {
                self.state.phase = Phase::Closed(Ending::Aborted);
                self.state.snd_nxt = self.state.snd_max;
                Some(self.outgoing(Flags::RST.and(Flags::ACK), 0..0))
            }
            Phase::Closed(_) => None,
        }
    }

    fn poll_syn(&mut self, now: Millis, max_mss: u16) -> Option<Outgoing> {
        if self.state.snd_nxt != self.state.snd_una {
            return None;
        }
        let mut syn = self.outgoing(Flags::SYN, 0..0);
        syn.segment.mss = Some(max_mss);
        self.sent(now, 1);
        Some(syn)
    }

    fn poll_data(&mut self, now: Millis) -> Option<Outgoing> {
        let state = &self.state;
        let in_flight = state.snd_nxt.distance(state.snd_una);
        let unsent = self.to_guest.len().saturating_sub(in_flight);
        // The FIN takes one number behind the last byte, and so its place in the window.
        let fin_unsent = state.sending == Sending::Fin && in_flight <= self.to_guest.len();
        if unsent == 0 && !fin_unsent {
            return None;
        }
        let window = usize::from(state.snd_wnd)
            .max(usize::from(self.probe))
            .saturating_sub(in_flight);
        let count = unsent.min(usize::from(state.mss)).min(window);
        let fin = fin_unsent && count == unsent && count < window;
        if count == 0 && !fin {
            // Nothing may be sent. If nothing is under way either, the guest must be asked again later.
            self.timer.start(now);
            return None;
        }
        let mut flags = Flags::ACK;
        if count > 0 && count == unsent {
            flags = flags.and(Flags::PSH);
        }
        if fin {
            flags = flags.and(Flags::FIN);
        }
        let outgoing = self.outgoing(flags, in_flight..in_flight + count);
        // A guest may ignore what begins beyond its window, and with it what it acknowledges.
        if in_flight < self.state.snd_wnd.into() {
            self.acknowledged();
        }
        self.sent(now, count + usize::from(fin));
        Some(outgoing)
    }

    fn poll_ack(&mut self) -> Option<Outgoing> {
        if !self.state.ack_due {
            return None;
        }
        let mut ack = self.outgoing(Flags::ACK, 0..0);
        // The guest must find it inside its window (RFC 9293, section 3.10.7.4), also while something is being repeated, and
        // when a question went beyond a window of zero.
        ack.segment.seq = match self.state.window_end() {
            end if self.state.snd_max.at_or_after(end) => end,
            _ => self.state.snd_max,
        };
        self.acknowledged();
        Some(ack)
    }

    /// The guest is told where we are.
    fn acknowledged(&mut self) {
        self.state.ack_due = false;
        self.state.rcv_adv = self.state.rcv_nxt.plus_u32(self.window().into());
    }

    fn outgoing(&self, flags: Flags, payload: Range<usize>) -> Outgoing {
        let state = &self.state;
        let segment = Segment {
            source_port: state.host_port,
            target_port: state.guest_port,
            seq: state.snd_nxt,
            ack: state.rcv_nxt,
            flags,
            window: self.window(),
            mss: None,
        };
        Outgoing { segment, payload }
    }

    fn sent(&mut self, now: Millis, numbers: usize) {
        if self.state.snd_nxt == self.state.snd_una {
            self.timer.restart(now);
        } else {
            self.timer.start(now);
        }
        self.state.snd_nxt = self.state.snd_nxt.plus(numbers);
        self.state.snd_max = self.state.snd_max.max(self.state.snd_nxt);
        self.probe = false;
    }
}
