//! The words in which the gate is asked and answers.

use std::time::Duration;

use super::queue::WaiterId;
use crate::{HoldError, time::Timestamp};

/// Counts a target's activations; tells a result that is still wanted from a stale one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    pub(crate) const NONE: Self = Self(0);

    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The number itself: 0 before the first activation.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Where a target stands, as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetState {
    /// No backend; the next request starts an activation.
    Asleep,
    /// An activation runs and at least one request waits for it.
    Waking,
    /// Requests pass.
    Awake,
    /// A [`ParkPermit`](crate::ParkPermit) is out; requests are held until it is decided.
    Parking,
    /// The proxy drains: who is inside may finish, nobody enters.
    Draining,
}

/// Who knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entrant {
    /// A client without a connection to the backend.
    Fresh,
    /// A client that has one already; a drain lets it finish.
    Connected,
}

/// What became of a knock.
#[derive(Debug)]
pub(crate) enum Entry<B> {
    Admitted(Admitted<B>),
    Held { id: WaiterId, deadline: Timestamp },
    Refused(HoldError),
}

/// A request that passes, counted as an exchange.
#[derive(Debug)]
pub(crate) struct Admitted<B> {
    pub(crate) epoch: Epoch,
    pub(crate) backend: B,
    pub(crate) edge: Edge,
}

/// Whether a target became busy or quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    Busy,
    Quiet { busy_for: Duration },
    Same,
}

/// What the shell must do, in this order.
#[derive(Debug)]
pub(crate) enum Action<W, B> {
    StartActivation {
        epoch: Epoch,
    },
    CancelActivation {
        epoch: Epoch,
    },
    Release {
        waiter: W,
        epoch: Epoch,
        backend: B,
        waited: Duration,
    },
    Refuse {
        waiter: W,
        why: HoldError,
        waited: Duration,
    },
    /// A result that nobody waits for any more.
    Unwanted {
        backend: B,
    },
    Edge(Edge),
}

pub(crate) type Actions<W, B> = Vec<Action<W, B>>;
