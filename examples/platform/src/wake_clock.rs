//! Takes the times of one wake, at the places where its phases begin and end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::phases::{Phase, WakePhases};

/// The clock of one service's wakes; one wake is under way at a time.
#[derive(Debug)]
pub(crate) struct WakeClock {
    phases: Arc<WakePhases>,
    /// Guards the stage alone.
    stage: Mutex<Stage>,
    /// The stage is `Answering`: lets every other byte pass without the lock. Set and cleared under it.
    answering: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Idle,
    /// A request is held since then.
    Held(Instant),
    /// The controller knows since then.
    Placing(Instant),
    /// The guest runs since then.
    Answering(Instant),
}

impl WakeClock {
    pub(crate) fn new(phases: Arc<WakePhases>) -> Self {
        Self {
            phases,
            stage: Mutex::new(Stage::Idle),
            answering: AtomicBool::new(false),
        }
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is held; of several the first counts.
    pub(crate) fn held(&self) {
        let mut stage = self.stage();
        if matches!(*stage, Stage::Idle) {
            *stage = Stage::Held(Instant::now());
        }
    }

    /// The controller was asked to wake the service.
    pub(crate) fn asked(&self) {
        let now = Instant::now();
        let mut stage = self.stage();
        if let Stage::Held(since) = *stage {
            self.phases.record(Phase::Park, now - since);
        }
        *stage = Stage::Placing(now);
    }

    /// The guest was let go after `load` and `restore`.
    pub(crate) fn started(&self, load: Duration, restore: Duration) {
        let now = Instant::now();
        let mut stage = self.stage();
        if let Stage::Placing(since) = *stage {
            self.phases
                .record(Phase::Place, (now - since).saturating_sub(load + restore));
            self.phases.record(Phase::Load, load);
            self.phases.record(Phase::Restore, restore);
        }
        *stage = Stage::Answering(now);
        self.answering.store(true, Ordering::Relaxed);
    }

    /// The guest has sent a byte.
    pub(crate) fn answered(&self) {
        if !self.answering.load(Ordering::Relaxed) {
            return;
        }
        let mut stage = self.stage();
        if let Stage::Answering(since) = *stage {
            self.phases.record(Phase::FirstResponse, since.elapsed());
            self.reset(&mut stage);
        }
    }

    /// This wake came to nothing.
    pub(crate) fn gave_up(&self) {
        let mut stage = self.stage();
        self.reset(&mut stage);
    }

    fn reset(&self, stage: &mut Stage) {
        *stage = Stage::Idle;
        self.answering.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wake_is_one_entry_in_every_phase() {
        let phases = Arc::new(WakePhases::default());
        let clock = WakeClock::new(Arc::clone(&phases));
        clock.answered();
        clock.held();
        clock.held();
        clock.asked();
        clock.started(Duration::from_micros(1), Duration::from_micros(2));
        clock.answered();
        clock.answered();
        assert!(
            phases
                .snapshot()
                .iter()
                .all(|(_, durations)| durations.count() == 1)
        );
    }

    #[test]
    fn a_wake_that_came_to_nothing_is_not_counted() {
        let phases = Arc::new(WakePhases::default());
        let clock = WakeClock::new(Arc::clone(&phases));
        clock.held();
        clock.gave_up();
        clock.answered();
        assert!(
            phases
                .snapshot()
                .iter()
                .all(|(_, durations)| durations.count() == 0)
        );
    }
}
