//! The guard that keeps a target awake.

use std::sync::Arc;

use crate::{Activator, Epoch, signal::Lineage, target::Target};

/// While the backend has something to do: an answer is owed, or bytes are on their way. While one exists the target is busy
/// and cannot be parked.
pub(crate) struct Exchange<A: Activator> {
    target: Arc<Target<A>>,
    epoch: Epoch,
}

impl<A: Activator> Exchange<A> {
    /// Takes over an exchange that the gate has counted already.
    pub(crate) fn counted(target: Arc<Target<A>>, epoch: Epoch) -> Self {
        Self { target, epoch }
    }
}

impl<A: Activator> Drop for Exchange<A> {
    fn drop(&mut self) {
        self.target.end(self.epoch);
    }
}

/// A request that may go on its way.
pub(crate) struct Passage<A: Activator> {
    pub(crate) exchange: Exchange<A>,
    pub(crate) backend: A::Backend,
    /// Of `backend`: read together with it, so that a loss in between is noticed.
    pub(crate) lineage: Lineage,
}
