//! When to repeat what the guest has not acknowledged.

use crate::virtio::net::usernet::time::Millis;

/// First interval; it doubles with every try. The link itself takes microseconds, so that a repetition means that the
/// guest dropped a segment or is not running.
pub(crate) const FIRST_INTERVAL_MS: u64 = 200;
/// Repetitions without an answer before the connection is given up: 102 s of a running guest. RFC 9293, 3.8.3, asks for
/// 100 s at least; a guest may compute so long without a look at its network.
pub(crate) const MAX_TRIES: u8 = 8;
/// All the intervals together: how long what the guest never answers is waited for.
pub(crate) const GIVE_UP_MS: u64 = FIRST_INTERVAL_MS * ((2 << MAX_TRIES) - 1);

/// The retransmission timer of a connection; not saved, a restored connection starts over.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timer {
    pub(crate) deadline: Option<Millis>,
    tries: u8,
}

impl Timer {
    /// Something is waiting for an answer from now on.
    pub(crate) fn start(&mut self, now: Millis) {
        self.deadline
            .get_or_insert(now.plus(FIRST_INTERVAL_MS << self.tries.min(MAX_TRIES)));
    }

    /// Something was sent while nothing else was under way: the interval starts with it, not with the wait for the guest to
    /// take it.
    pub(crate) fn restart(&mut self, now: Millis) {
        self.deadline = None;
        self.start(now);
    }

    /// The guest answered; `waiting` tells whether something else is still waiting.
    pub(crate) fn answered(&mut self, now: Millis, waiting: bool) {
        *self = Timer::default();
        if waiting {
            self.start(now);
        }
    }

    /// The guest is alive but takes nothing at the moment.
    pub(crate) fn alive(&mut self) {
        self.tries = 0;
    }

    /// Whether the deadline has come: `Some(true)` if it is worth another try.
    pub(crate) fn expire(&mut self, now: Millis) -> Option<bool> {
        if self.deadline? > now {
            return None;
        }
        self.deadline = None;
        self.tries += 1;
        Some(self.tries <= MAX_TRIES)
    }
}
