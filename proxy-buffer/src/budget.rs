//! The bytes that a whole proxy may hold.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{HoldError, LimitScope};

/// Counts reserved bytes against a limit.
#[derive(Debug)]
pub(crate) struct Budget {
    // Only a count: nothing else is published through it, so every access is relaxed.
    taken_bytes: AtomicUsize,
    limit_bytes: usize,
}

impl Budget {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            taken_bytes: AtomicUsize::new(0),
            limit_bytes,
        }
    }

    pub(crate) fn reserve(&self, wanted_bytes: usize) -> Result<(), HoldError> {
        self.taken_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                taken
                    .checked_add(wanted_bytes)
                    .filter(|sum| *sum <= self.limit_bytes)
            })
            .map(|_| ())
            .map_err(|held_bytes| HoldError::BytesFull {
                scope: LimitScope::Proxy,
                wanted_bytes,
                held_bytes,
                limit_bytes: self.limit_bytes,
            })
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.taken_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn taken_bytes(&self) -> usize {
        self.taken_bytes.load(Ordering::Relaxed)
    }
}
