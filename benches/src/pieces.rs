//! What a restore consists of.

use std::time::{Duration, Instant};

/// How long one restore took, piece by piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pieces {
    /// Mapping memory and populating the working set; part of `restore` when cold with the library.
    pub load: Duration,
    /// Making the VM, if it is cold, and setting its state.
    pub restore: Duration,
    /// From the call that runs the guest to its first action.
    pub run: Duration,
}

impl Pieces {
    /// The pieces between four moments, in order.
    #[must_use]
    pub fn between(begun: Instant, loaded: Instant, restored: Instant, acted: Instant) -> Self {
        Self {
            load: loaded.duration_since(begun),
            restore: restored.duration_since(loaded),
            run: acted.duration_since(restored),
        }
    }

    /// All together.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.load + self.restore + self.run
    }
}
