//! Segments of the guest (RFC 9293, section 3.10.7).

use std::ops::Range;

use super::endpoint::{Ending, Endpoint};
use super::state::{Phase, Receiving, Sending};
use super::{DEFAULT_MSS, MIN_MSS};
use crate::virtio::net::usernet::time::Millis;
use crate::virtio::net::usernet::wire::tcp::{Flags, Segment};

/// What becomes of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The bytes of this range of the payload are accepted and now belong to the host.
    Accepted(Range<usize>),
    /// The segment belongs to another connection of the same ports: it is to be answered with a reset.
    Stranger,
}

/// Where a segment lies in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It goes on where we are, behind `known` bytes that we have already.
    Next { known: usize },
    /// In the window, but something before it is missing.
    Ahead,
    /// Outside of the window, such as a repetition.
    Elsewhere,
}

const NOTHING: Verdict = Verdict::Accepted(0..0);

impl Endpoint {
    /// Takes a segment with a payload of `payload_bytes`. `max_mss` is what the link carries.
    pub(crate) fn input(
        &mut self,
        now: Millis,
        segment: &Segment,
        payload_bytes: usize,
        max_mss: u16,
    ) -> Verdict {
        match self.state.phase {
            Phase::SynSent => self.input_syn_sent(now, segment, max_mss),
            Phase::Open => self.input_open(now, segment, payload_bytes),
            Phase::Aborting | Phase::Closed(_) => NOTHING,
        }
    }

    fn input_syn_sent(&mut self, now: Millis, segment: &Segment, max_mss: u16) -> Verdict {
        let state = &mut self.state;
        let expected = segment.flags.has(Flags::ACK)
            && segment.ack == state.snd_una.plus(1)
            && segment.ack == state.snd_max;
        if !expected {
            // Nobody connects to us: a bare SYN is as strange as an acknowledgement of something we never sent.
            return Verdict::Stranger;
        }
        if segment.flags.has(Flags::RST) {
            state.phase = Phase::Closed(Ending::Refused);
            return NOTHING;
        }
        if !segment.flags.has(Flags::SYN) {
            return NOTHING;
        }
        state.phase = Phase::Open;
        state.snd_una = segment.ack;
        state.snd_nxt = segment.ack;
        state.rcv_nxt = segment.seq.plus(1);
        state.rcv_adv = state.rcv_nxt;
        state.snd_wnd = segment.window;
        state.snd_wl1 = segment.seq;
        state.snd_wl2 = segment.ack;
        state.mss = segment.mss.unwrap_or(DEFAULT_MSS).max(MIN_MSS).min(max_mss);
        state.ack_due = true;
        self.timer.answered(now, false);
        NOTHING
    }

    fn input_open(&mut self, now: Millis, segment: &Segment, payload_bytes: usize) -> Verdict {
        if segment.flags.has(Flags::RST) {
            if segment.seq == self.state.rcv_nxt {
                self.state.phase = Phase::Closed(Ending::Reset);
            }
            return NOTHING;
        }
        let fin = segment.flags.has(Flags::FIN);
        let place = self.place(segment, payload_bytes + usize::from(fin));
        let acceptable = place != Place::Elsewhere && !segment.flags.has(Flags::SYN);
        if !acceptable
            || segment
                .ack
                .after(self.state.snd_max)
                .is_some_and(|beyond| beyond > 0)
        {
            // Repeated or wrong: say where we are.
            self.state.ack_due = true;
            return NOTHING;
        }
        if !segment.flags.has(Flags::ACK) {
            return NOTHING;
        }
        self.input_ack(now, segment);
        match place {
            Place::Next { known } => self.input_payload(known, payload_bytes, fin),
            // Bytes in between are missing. They will come again, and what follows them too.
            Place::Ahead | Place::Elsewhere => {
                self.state.ack_due = true;
                NOTHING
            }
        }
    }

    /// Where a segment that takes `numbers` sequence numbers lies in the window.
    fn place(&self, segment: &Segment, numbers: usize) -> Place {
        let next = self.state.rcv_nxt;
        if let Some(known) = next
            .after(segment.seq)
            .and_then(|known| usize::try_from(known).ok())
        {
            if known == 0 || known < numbers {
                Place::Next { known }
            } else {
                Place::Elsewhere
            }
        } else if segment.seq.distance(next) < usize::from(self.window()) {
            Place::Ahead
        } else {
            Place::Elsewhere
        }
    }

    fn input_ack(&mut self, now: Millis, segment: &Segment) {
        let Some(acked) = segment
            .ack
            .after(self.state.snd_una)
            .and_then(|acked| usize::try_from(acked).ok())
        else {
            return;
        };
        let state = &mut self.state;
        if acked > 0 {
            // What is acknowledged past the last byte is our FIN.
            if acked > self.to_guest.len() {
                state.sending = Sending::Done;
            }
            self.to_guest.consume(acked);
            state.snd_una = segment.ack;
            state.snd_nxt = state.snd_nxt.max(state.snd_una);
            self.timer.answered(now, state.snd_una != state.snd_max);
            self.probe = false;
        }
        let newer = segment.seq.at_or_after(state.snd_wl1) && segment.ack.at_or_after(state.snd_wl2);
        if newer {
            state.snd_wnd = segment.window;
            state.snd_wl1 = segment.seq;
            state.snd_wl2 = segment.ack;
        }
        if state.snd_wnd == 0 {
            self.timer.alive();
        }
    }

    /// Accepts what is new of the payload and fits into the window.
    fn input_payload(&mut self, known: usize, payload_bytes: usize, fin: bool) -> Verdict {
        if payload_bytes > 0 || fin {
            self.state.ack_due = true;
        }
        if self.state.receiving == Receiving::Done {
            return NOTHING;
        }
        let known = known.min(payload_bytes);
        let end = payload_bytes.min(known + usize::from(self.window()));
        self.state.rcv_nxt = self.state.rcv_nxt.plus(end - known);
        if fin && end == payload_bytes {
            self.state.rcv_nxt = self.state.rcv_nxt.plus(1);
            self.state.receiving = Receiving::Done;
        }
        // A guest may have sent past the window that it was told, into the one that there is.
        self.state.rcv_adv = self.state.rcv_adv.max(self.state.rcv_nxt);
        Verdict::Accepted(known..end)
    }
}
