//! What is said on a connection, as far as its protocol is known.

use std::time::Duration;

use super::{
    Protocol,
    http1::{Conversation, Upgraded},
    relay::{Flow, Passed},
};
use crate::{
    Asked, HoldError, Party,
    time::{Clock, Timestamp},
};

/// Which answers are owed.
#[derive(Debug)]
pub(super) enum Talk {
    /// Any bytes. An answer is owed from the client's last bytes to the backend's next; it may end at any time.
    Raw { answer: Answer, wire: Wire },
    /// Until something else is spoken.
    Http1(Box<Conversation>),
}

/// Whether the backend owes the client an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Due,
    Given,
}

/// Whether a refusal would be the first bytes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Clean,
    Written,
}

impl Talk {
    pub(super) fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Raw => Self::Raw {
                answer: Answer::Due,
                wire: Wire::Clean,
            },
            Protocol::Http1 => Self::Http1(Box::new(Conversation::new())),
        }
    }

    /// Whether it is the backend's turn: it must not be parked.
    pub(super) fn is_due(&self) -> bool {
        match self {
            Self::Raw { answer, .. } => *answer == Answer::Due,
            Self::Http1(talk) => talk.is_due(),
        }
    }

    /// Until when more of a request's body may be about to come.
    pub(super) fn flows_until(&self) -> Option<Timestamp> {
        match self {
            Self::Raw { .. } => None,
            Self::Http1(talk) => talk.flows_until(),
        }
    }

    /// Whether nothing is under way, not even a request.
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Self::Raw { answer, .. } => *answer == Answer::Given,
            Self::Http1(talk) => talk.is_idle(),
        }
    }

    /// Whether it could make room for others: between two requests, or in a head of which no more comes. A raw stream does not say.
    pub(super) fn may_make_room(&self) -> bool {
        match self {
            Self::Raw { .. } => false,
            Self::Http1(talk) => talk.is_idle() || talk.awaits_head(),
        }
    }

    /// Whether all that the client has said is a part of a head.
    pub(super) fn awaits_head(&self) -> bool {
        match self {
            Self::Raw { .. } => false,
            Self::Http1(talk) => talk.awaits_head(),
        }
    }

    /// Whether a refusal would be the first bytes of an answer, if all that the backend sent has been passed on.
    pub(super) fn may_refuse(&self) -> bool {
        match self {
            Self::Raw { wire, .. } => *wire == Wire::Clean,
            Self::Http1(talk) => talk.is_between_answers(),
        }
    }

    /// Whether a connection that is closed now breaks an answer off, which the client could take for its end; `passed` is what
    /// the client has of the backend's bytes.
    pub(super) fn is_broken_off(&self, passed: Passed) -> bool {
        match self {
            Self::Raw { .. } => false,
            Self::Http1(talk) => passed == Passed::Part || talk.is_answering(),
        }
    }

    /// Whether more of the client is to be read.
    pub(super) fn wants_client(&self) -> bool {
        match self {
            Self::Raw { .. } => true,
            Self::Http1(talk) => !talk.is_full(),
        }
    }

    /// How many of the client's next bytes say nothing, and are not passed on.
    pub(super) fn empty_lines(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Raw { .. } => 0,
            Self::Http1(talk) => talk.empty_lines(bytes),
        }
    }

    /// Bytes of the client, which are answered unless the backend has ended: `down` is its direction.
    pub(super) fn client_bytes(&mut self, now: Timestamp, bytes: &[u8], down: Flow) {
        match self {
            Self::Raw { answer, .. } if down == Flow::Open => *answer = Answer::Due,
            Self::Raw { .. } => {}
            Self::Http1(talk) => talk.client_bytes(now, bytes),
        }
    }

    pub(super) fn client_ended(&mut self, now: Timestamp) {
        if let Self::Http1(talk) = self {
            talk.client_ended(now);
        }
    }

    /// The backend reads no more.
    pub(super) fn backend_deaf(&mut self, now: Timestamp) {
        if let Self::Http1(talk) = self {
            talk.server_deaf(now);
        }
    }

    /// Bytes of the backend; they answer all that the client said if all of it has `passed`.
    pub(super) fn backend_bytes(&mut self, now: Timestamp, bytes: &[u8], passed: Passed) {
        match self {
            Self::Raw { answer, wire } => {
                *wire = Wire::Written;
                if passed == Passed::All {
                    *answer = Answer::Given;
                }
            }
            Self::Http1(talk) => {
                if let Err(Upgraded) = talk.server_bytes(now, bytes) {
                    let answer = match passed {
                        Passed::All => Answer::Given,
                        Passed::Part => Answer::Due,
                    };
                    *self = Self::Raw {
                        answer,
                        wire: Wire::Written,
                    };
                }
            }
        }
    }

    pub(super) fn backend_ended(&mut self, now: Timestamp) {
        match self {
            Self::Raw { answer, .. } => *answer = Answer::Given,
            Self::Http1(talk) => talk.server_ended(now),
        }
    }

    /// Somebody took bytes that were there for it. (Of a raw stream no times are kept, so it does not read the clock.)
    pub(super) fn taken(&mut self, clock: &Clock, by: Party) {
        if let Self::Http1(talk) = self {
            talk.taken(clock.now(), by);
        }
    }

    /// It is held now: the backend was quiet, so what was answered before is complete.
    pub(super) fn held(&mut self) {
        if let Self::Raw { wire, .. } = self {
            *wire = Wire::Clean;
        }
    }

    /// It is connected, again or for the first time.
    pub(super) fn resumed(&mut self, clock: &Clock) {
        if let Self::Http1(talk) = self {
            talk.resumed(clock.now());
        }
    }

    /// What it means that the backend closes the connection now.
    pub(super) fn closed(&self, now: Timestamp) -> HoldError {
        match self {
            Self::Raw { .. } => HoldError::BackendClosed {
                asked: Asked::Bytes,
                waited: Duration::ZERO,
            },
            Self::Http1(talk) => talk.closed(now),
        }
    }
}
