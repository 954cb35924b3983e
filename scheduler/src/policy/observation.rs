use core::time::Duration;

use crate::action::{ParkLevel, StartKind};
use crate::ids::ServiceId;
use crate::time::Timestamp;

/// Something a policy may learn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observation {
    /// Where.
    pub service: ServiceId,
    /// When.
    pub at: Timestamp,
    /// What.
    pub seen: Seen,
}

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seen {
    /// Requests came or left, so that more or fewer instances are needed: those in the service, waiting or in flight,
    /// divided by the most that an instance takes, rounded up.
    Level {
        /// Needed until now.
        before: u32,
        /// Needed from now on; never the same.
        after: u32,
    },
    /// A request was admitted that had found no free slot.
    Waited {
        /// Instances needed when it had come, itself included.
        level: u32,
        /// How long it waited.
        waited: Duration,
    },
    /// An instance became ready.
    Started {
        /// How it was started.
        kind: StartKind,
        /// Where it slept; `None` for a new instance.
        from: Option<ParkLevel>,
        /// From the command to its answer.
        took: Duration,
    },
    /// An instance fell asleep, or deeper asleep.
    Parked {
        /// Where it sleeps now.
        level: ParkLevel,
        /// From the command to its answer.
        took: Duration,
        /// What was written to save it.
        written_bytes: u64,
    },
}

impl Observation {
    /// Seen at `at`.
    pub const fn new(service: ServiceId, at: Timestamp, seen: Seen) -> Self {
        Self { service, at, seen }
    }
}
