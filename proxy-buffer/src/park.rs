//! Putting a target to sleep, in two phases.
//!
//! The owner of the backends parks; the proxy never does by itself. It asks with `try_park` when it is minded to (its policy
//! hears of `Observer::quiet`), and has then all the time it needs to find out whether the backend itself is quiet.

use std::{fmt, sync::Arc, time::Duration};

use crate::{Activator, Epoch, TargetState, target::Target};

/// Why a target cannot be parked now; from [`TargetHandle::try_park`](crate::TargetHandle::try_park). The owner may ask
/// again after the next [`Observer::quiet`](crate::Observer::quiet), or after the rest of its `quiet_for` if there is no
/// exchange and no waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "park a target that is {state:?}: {exchanges} exchanges, {waiters} waiters, last activity {} ms ago",
    last_activity_age.as_millis()
)]
#[non_exhaustive]
pub struct Busy {
    /// Only an [`Awake`](TargetState::Awake) target can be parked.
    pub state: TargetState,
    /// Exchanges under way: answers that are owed, and bytes that one side has not taken yet.
    pub exchanges: usize,
    /// Requests held at the gate.
    pub waiters: usize,
    /// Time since the last byte in either direction.
    pub last_activity_age: Duration,
}

/// The right to park one target, held by its owner from [`TargetHandle::try_park`](crate::TargetHandle::try_park) until it
/// has decided. While it exists, requests are held instead of forwarded, for
/// [`Limits::hold_time`](crate::Limits::hold_time) at most: the owner should not keep it much longer than saving takes.
///
/// The owner stops the backend, looks whether it is quiet (it may have work of its own, which the proxy does not see), and
/// then says [`parked`](Self::parked) once it is saved, or [`abort`](Self::abort) if it runs on. Dropping the permit, as by an
/// error on the way, is `abort`. If the backend died meanwhile, it says
/// [`backend_lost`](crate::TargetHandle::backend_lost) first, and the permit has no effect.
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

    /// The backend is parked: the target is asleep. To be called by the owner when it can activate the target again. If
    /// requests were held meanwhile, an activation starts at once, in a task of the proxy.
    ///
    /// Without effect if [`TargetHandle::backend_lost`](crate::TargetHandle::backend_lost) came in between.
    pub fn parked(mut self) {
        if let Some(target) = self.target.take() {
            target.parked(self.epoch);
        }
    }

    /// The backend still runs: the target is awake as before, and what was held is forwarded. To be called by the owner when
    /// the backend was not quiet, or could not be saved and goes on.
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
