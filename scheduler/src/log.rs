use alloc::collections::VecDeque;
use core::fmt;

use crate::action::Action;
use crate::time::Timestamp;

/// An action and when it was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// What, and why.
    pub action: Action,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "at {}, service {}: {}",
            self.at, self.action.service, self.action
        )
    }
}

/// The last decisions, oldest first.
#[derive(Debug)]
pub(crate) struct Log {
    ring: VecDeque<Decision>,
    capacity: usize,
}

impl Log {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            ring: VecDeque::new(),
            capacity,
        }
    }

    pub(crate) fn push(&mut self, decision: Decision) {
        if self.capacity == 0 {
            return;
        }
        if self.ring.len() == self.capacity {
            self.ring.pop_front();
        }
        self.ring.push_back(decision);
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Decision> {
        self.ring.iter()
    }
}
