//! What a connection is, as plain data.

use serde::{Deserialize, Serialize};

use super::endpoint::Ending;
use super::{MIN_MSS, RECEIVE_CAPACITY, SEND_CAPACITY, Seq};

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// The guest has not answered our SYN.
    SynSent,
    /// Established. The two directions end on their own.
    Open,
    /// A reset is to be sent.
    Aborting,
    /// Nothing more will be sent.
    Closed(Ending),
}

/// The direction to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Sending {
    /// The host may have more to send.
    Open,
    /// The host is done: a FIN follows the last byte and waits for its acknowledgement.
    Fin,
    /// The guest has acknowledged everything.
    Done,
}

/// The direction from the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Receiving {
    /// The guest may have more to send.
    Open,
    /// The guest's FIN has come.
    Done,
}

/// The variables of a connection, named as in RFC 9293, section 3.3.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TcpState {
    pub(crate) phase: Phase,
    pub(crate) sending: Sending,
    pub(crate) receiving: Receiving,
    /// Our port, which names the connection, and the guest's.
    pub(crate) host_port: u16,
    pub(crate) guest_port: u16,
    pub(crate) snd_una: Seq,
    pub(crate) snd_nxt: Seq,
    /// The highest `snd_nxt` ever; a repetition moves `snd_nxt` back.
    pub(crate) snd_max: Seq,
    pub(crate) snd_wnd: u16,
    pub(crate) snd_wl1: Seq,
    pub(crate) snd_wl2: Seq,
    pub(crate) rcv_nxt: Seq,
    /// The end of the window that the guest knows.
    pub(crate) rcv_adv: Seq,
    pub(crate) mss: u16,
    pub(crate) ack_due: bool,
}

/// A saved connection contradicts itself or the limits of this build.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TcpStateError {
    /// More bytes are buffered than any connection may have.
    #[error("{sent} bytes to and {received} bytes from the guest are more than a connection buffers")]
    Buffers {
        /// Bytes on their way to the guest.
        sent: usize,
        /// Bytes on their way to the host.
        received: usize,
    },
    /// The segment size is out of range.
    #[error("segment size {mss} is not between {MIN_MSS} and {max}")]
    Mss {
        /// The size in bytes.
        mss: u16,
        /// The largest that the link carries.
        max: u16,
    },
    /// The sequence numbers contradict the buffered bytes or the phase.
    #[error("sequence numbers contradict the {sent} buffered bytes")]
    Sequence {
        /// Bytes on their way to the guest.
        sent: usize,
    },
    /// The connection had already ended.
    #[error("the connection was closed")]
    Closed,
}

impl TcpState {
    /// The end of the window that the guest has given.
    pub(super) fn window_end(&self) -> Seq {
        self.snd_una.plus_u32(self.snd_wnd.into())
    }

    /// Checks what the code relies on, for `sent` and `received` buffered bytes and a link that carries `max_mss`.
    pub(crate) fn check(&self, sent: usize, received: usize, max_mss: u16) -> Result<(), TcpStateError> {
        if sent > SEND_CAPACITY || received > RECEIVE_CAPACITY {
            return Err(TcpStateError::Buffers { sent, received });
        }
        if !(MIN_MSS..=max_mss).contains(&self.mss) {
            return Err(TcpStateError::Mss {
                mss: self.mss,
                max: max_mss,
            });
        }
        let possible = match (self.phase, self.sending) {
            (Phase::Closed(_), _) => return Err(TcpStateError::Closed),
            // Our SYN takes a number; bytes wait until it is acknowledged.
            (Phase::SynSent, _) => Some(1),
            (Phase::Open | Phase::Aborting, Sending::Open) => Some(sent),
            (Phase::Open | Phase::Aborting, Sending::Fin) => Some(sent + 1),
            (Phase::Open | Phase::Aborting, Sending::Done) if sent > 0 => None,
            (Phase::Open | Phase::Aborting, Sending::Done) => Some(0),
        };
        let in_order = |from: Seq, to: Seq, most: usize| {
            to.after(from)
                .and_then(|distance| usize::try_from(distance).ok())
                .is_some_and(|distance| distance <= most)
        };
        let sound = possible.is_some_and(|possible| {
            in_order(self.snd_una, self.snd_max, possible)
                && in_order(self.snd_una, self.snd_nxt, self.snd_max.distance(self.snd_una))
        });
        if sound && in_order(self.rcv_nxt, self.rcv_adv, RECEIVE_CAPACITY) {
            Ok(())
        } else {
            Err(TcpStateError::Sequence { sent })
        }
    }
}
