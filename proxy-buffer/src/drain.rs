//! Ending in order.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    Activator,
    proxy::{Registry, Shared},
    signal::Stage,
};

/// What became of the connections that were open when a drain began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Ended by themselves, or were closed when nothing was under way.
    pub finished: usize,
    /// Turned away with an error.
    pub refused: usize,
    /// Cut off at the deadline.
    pub aborted: usize,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Finished,
    Refused,
    Aborted,
}

/// Counts sessions by their end.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    finished: AtomicUsize,
    refused: AtomicUsize,
    aborted: AtomicUsize,
}

impl Tally {
    pub(crate) fn count(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Finished => &self.finished,
            Outcome::Refused => &self.refused,
            Outcome::Aborted => &self.aborted,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn report(&self) -> DrainReport {
        DrainReport {
            finished: self.finished.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            aborted: self.aborted.load(Ordering::Relaxed),
        }
    }
}

impl DrainReport {
    fn since(self, start: Self) -> Self {
        Self {
            finished: self.finished.saturating_sub(start.finished),
            refused: self.refused.saturating_sub(start.refused),
            aborted: self.aborted.saturating_sub(start.aborted),
        }
    }
}

pub(crate) async fn drain<A: Activator>(
    shared: &Shared<A>,
    registry: &Mutex<Registry<A>>,
    deadline: Duration,
) -> DrainReport {
    let start = shared.tally.report();
    shared.stop.cancel();
    enter(registry, Stage::Draining);
    shared.tracker.close();
    if tokio::time::timeout(deadline, shared.tracker.wait())
        .await
        .is_err()
    {
        enter(registry, Stage::Over);
        shared.tracker.wait().await;
    }
    shared.tally.report().since(start)
}

fn enter<A: Activator>(registry: &Mutex<Registry<A>>, stage: Stage) {
    let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
    registry.stage = registry.stage.max(stage);
    for target in registry.targets.values() {
        target.drain(registry.stage);
    }
}
