//! Putting a target to sleep, in two phases.

use std::{fmt, sync::Arc, time::Duration};

use crate::{Activator, Epoch, TargetState, target::Target};

/// Why a target cannot be parked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "park a target that is {state:?}: {exchanges} exchanges, {waiters} waiters, last activity {} ms ago",
    last_activity_age.as_millis()
)]
#[non_exhaustive]
pub struct Busy {
    /// Only an [`Awake`](TargetState::Awake) target can be parked.
    pub state: TargetState,
    /// Requests that the backend has not begun to answer, and answers that a client has not taken yet.
    pub exchanges: usize,
    /// Requests held at the gate.
    pub waiters: usize,
    /// Time since the last byte in either direction.
    pub last_activity_age: Duration,
}

/// The right to park one target. While it exists, requests are held instead of forwarded.
///
/// Dropping it is [`abort`](Self::abort).
#[must_use = "dropping the permit calls parking off"]
pub struct ParkPermit<A: Activator> {
    target: Option<Arc<Target<A>>>,
    epoch: Epoch,
}

impl<A: Activator> ParkPermit<A> {
    pub(crate) fn new(target: Arc<Target<A>>, epoch: Epoch) -> Self {
        Self {
            target: Some(target),
            epoch,
        }
    }

    /// The backend is parked: the target is asleep. If requests were held meanwhile, an activation starts at once.
    ///
    /// Without effect if [`TargetHandle::backend_lost`](crate::TargetHandle::backend_lost) came in between.
    pub fn parked(mut self) {
        if let Some(target) = self.target.take() {
            target.parked(self.epoch);
        }
    }

    /// The backend still runs: the target is awake as before, and what was held is forwarded.
    pub fn abort(self) {
        drop(self);
    }
}

impl<A: Activator> Drop for ParkPermit<A> {
    fn drop(&mut self) {
        if let Some(target) = self.target.take() {
            target.unpark(self.epoch);
        }
    }
}

impl<A: Activator> fmt::Debug for ParkPermit<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParkPermit")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}
