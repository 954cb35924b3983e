//! What the owner of a target can do with it.

use std::{fmt, sync::Arc, time::Duration};

use crate::{Activator, Busy, ParkPermit, TargetState, target::Target};

/// One target of a [`Proxy`](crate::Proxy). Cheap to clone; every method is short and never blocks.
pub struct TargetHandle<A: Activator> {
    target: Arc<Target<A>>,
}

impl<A: Activator> TargetHandle<A> {
    pub(crate) fn new(target: Arc<Target<A>>) -> Self {
        Self { target }
    }

    pub(crate) fn target(&self) -> &Arc<Target<A>> {
        &self.target
    }

    /// The caller's name of the target.
    #[must_use]
    pub fn key(&self) -> &A::Key {
        self.target.key()
    }

    /// Where the target stands.
    #[must_use]
    pub fn state(&self) -> TargetState {
        self.target.state()
    }

    /// Asks for the right to park the target, which is given if it is awake, no exchange is under way, and no byte
    /// moved in the last `quiet_for`. From then on requests are held, until the permit is used or dropped.
    ///
    /// For the owner, at any time; as a rule some time after [`Observer::quiet`](crate::Observer::quiet).
    ///
    /// In a raw stream `quiet_for` should exceed the longest pause within one answer, because it does not say where one
    /// ends. With [`Protocol::Http1`](crate::Protocol::Http1) an answer is an exchange to its end, and a request that
    /// is not complete is none: what came of it is with the backend, and the rest wakes it again.
    ///
    /// # Errors
    /// [`Busy`] says what stands against it.
    pub fn try_park(&self, quiet_for: Duration) -> Result<ParkPermit<A>, Busy> {
        let epoch = self.target.try_park(quiet_for)?;
        Ok(ParkPermit::new(self.target.clone(), epoch))
    }

    /// The backend died, and every stream to it: the target is asleep, sessions that have a stream are closed (with
    /// a refusal where an answer was due), waiters without one wait for a new activation.
    ///
    /// Right in any state. While asleep or waking it says that the streams kept across the sleep are dead, as when an
    /// activation boots anew instead of restoring.
    pub fn backend_lost(&self, reason: &str) {
        self.target.lost(reason);
    }

    /// How many of everything.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.target.counters()
    }
}

impl<A: Activator> Clone for TargetHandle<A> {
    fn clone(&self) -> Self {
        Self {
            target: self.target.clone(),
        }
    }
}

impl<A: Activator> fmt::Debug for TargetHandle<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TargetHandle")
            .field("key", self.key())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// A target's figures at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Client connections that are open.
    pub connections: usize,
    /// Exchanges under way.
    pub exchanges: usize,
    /// Requests held at the gate.
    pub waiters: usize,
    /// Bytes held for them.
    pub held_bytes: usize,
    /// Activations started so far.
    pub activations: u64,
    /// Held requests that went on their way so far.
    pub released: u64,
    /// Clients turned away so far.
    pub refused: u64,
}
