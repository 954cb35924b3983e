//! What the proxy tells its owner.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use crate::{ActivateError, Epoch, HoldError};

/// Hears what happens to targets. Every method does nothing by default; `()` observes nothing.
///
/// The calls for one target come in the order of the events, because all but those about connections and accepting are
/// made while the target is locked. So they must be short (count, or send into a channel) and must not call that target's
/// [`TargetHandle`](crate::TargetHandle).
///
/// A panic in one of them goes no further: the panic hook reports it, and the proxy goes on as if it had returned.
pub trait Observer<K>: Send + Sync + 'static {
    /// A client connected to `key`'s listener.
    fn connection_opened(&self, key: &K) {
        let _ = key;
    }

    /// A client connection ended, `open_for` after it was accepted.
    fn connection_closed(&self, key: &K, open_for: Duration) {
        let _ = (key, open_for);
    }

    /// A request waits at the gate, because `key` is not awake.
    fn held(&self, key: &K) {
        let _ = key;
    }

    /// A held request goes on its way.
    fn released(&self, key: &K, waited: Duration) {
        let _ = (key, waited);
    }

    /// A client was turned away, or its answer was broken off; `waited` is zero if it was never held. All causes of `why` are
    /// its [source](std::error::Error::source).
    fn refused(&self, key: &K, why: &HoldError, waited: Duration) {
        let _ = (key, why, waited);
    }

    /// A held client left before its target was awake.
    fn left(&self, key: &K, waited: Duration) {
        let _ = (key, waited);
    }

    /// [`Activator::activate`](crate::Activator::activate) is about to be called.
    fn activation_started(&self, key: &K, epoch: Epoch) {
        let _ = (key, epoch);
    }

    /// The activation ended by itself.
    fn activation_finished(&self, key: &K, epoch: Epoch, took: Duration, result: Result<(), &ActivateError>) {
        let _ = (key, epoch, took, result);
    }

    /// The last waiting client left; the activation's future is being dropped.
    fn activation_cancelled(&self, key: &K, epoch: Epoch, after: Duration) {
        let _ = (key, epoch, after);
    }

    /// An exchange began at `at`, and there was none before.
    fn busy(&self, key: &K, at: Instant) {
        let _ = (key, at);
    }

    /// The last exchange ended at `at`. The target may be parked once it has been quiet for long enough.
    fn quiet(&self, key: &K, at: Instant, busy_for: Duration) {
        let _ = (key, at, busy_for);
    }

    /// A [`ParkPermit`](crate::ParkPermit) was given out: requests are held from now on.
    fn parking(&self, key: &K) {
        let _ = key;
    }

    /// The target is asleep: parked, or lost.
    fn asleep(&self, key: &K) {
        let _ = key;
    }

    /// Parking was called off; the target is awake as before.
    fn park_aborted(&self, key: &K) {
        let _ = key;
    }

    /// A client connection on which nothing was under way but half a head at most is closed, because the limit on connections is
    /// reached and another wants its place.
    fn made_room(&self, key: &K) {
        let _ = key;
    }

    /// The listener of `key` cannot accept; it tries again after pauses, of 20 ms at first and 1 s in the end. It says so at
    /// most once a second.
    fn accept_failed(&self, key: &K, error: &io::Error) {
        let _ = (key, error);
    }
}

impl<K> Observer<K> for () {}

/// An observer whose panics harm nobody: what it is told of may be half done, under a lock.
pub(crate) struct Herald<K>(Box<dyn Observer<K>>);

impl<K: 'static> Herald<K> {
    pub(crate) fn new(observer: impl Observer<K>) -> Self {
        Self(Box::new(observer))
    }

    pub(crate) fn tell(&self, event: impl FnOnce(&dyn Observer<K>)) {
        // What the observer holds is its own affair; nothing of the proxy's is changed in there.
        let told = catch_unwind(AssertUnwindSafe(|| event(&*self.0)));
        // The panic hook has reported it.
        let _ = told;
    }
}
