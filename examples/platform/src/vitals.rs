//! What the controller learns of a service from the bytes that pass: when a wake's phases end, and whether its instance answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::host::Verdict;
use crate::phases::WakePhases;
use crate::wake_clock::WakeClock;

/// Shared by everything that a service's bytes pass through.
#[derive(Debug)]
pub(crate) struct Vitals {
    pub(crate) clock: WakeClock,
    pub(crate) phases: Arc<WakePhases>,
    pub(crate) pulse: Pulse,
}

impl Vitals {
    pub(crate) fn new() -> Self {
        let phases = Arc::new(WakePhases::default());
        Self {
            clock: WakeClock::new(Arc::clone(&phases)),
            phases,
            pulse: Pulse::default(),
        }
    }

    /// The guest has sent a byte.
    pub(crate) fn answered(&self) {
        self.clock.answered();
        self.pulse.answered();
    }
}

/// So many answers in a row, with none in between, that did not come in time make an instance as good as dead.
pub(crate) const MOST_TIMEOUTS: u32 = 3;

/// Whether a service's instance answers.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// Answers that did not come in time, since one came.
    timeouts: AtomicU32,
    /// Instances, the present one included, that were started since one answered.
    unproven: AtomicU32,
}

impl Pulse {
    /// A new instance runs.
    pub(crate) fn begins(&self) {
        self.timeouts.store(0, Ordering::Relaxed);
        self.unproven.fetch_add(1, Ordering::Relaxed);
    }

    fn answered(&self) {
        // For nearly every byte there is nothing to write.
        for count in [&self.timeouts, &self.unproven] {
            if count.load(Ordering::Relaxed) != 0 {
                count.store(0, Ordering::Relaxed);
            }
        }
    }

    /// An answer did not come in time. Says how many in a row did not.
    pub(crate) fn timed_out(&self) -> u32 {
        self.timeouts.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// What is to be said of an instance that has left so many requests unanswered.
    pub(crate) fn verdict(&self, timeouts: u32, waited: Duration) -> (Verdict, String) {
        let text = format!(
            "it has left {timeouts} requests in a row unanswered, the last one for {} ms",
            waited.as_millis()
        );
        match self.unproven.load(Ordering::Relaxed) {
            0 => (Verdict::Wedged, text),
            in_a_row => (
                Verdict::NeverAnswered { in_a_row },
                format!("{text}, and never answered any since it was started"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_makes_all_good() {
        let pulse = Pulse::default();
        pulse.begins();
        assert_eq!([(); 2].map(|()| pulse.timed_out()), [1, 2]);
        assert_eq!(
            pulse.verdict(3, Duration::ZERO).0,
            Verdict::NeverAnswered { in_a_row: 1 }
        );
        pulse.answered();
        assert_eq!(pulse.timed_out(), 1);
        assert_eq!(pulse.verdict(3, Duration::ZERO).0, Verdict::Wedged);
        pulse.begins();
        pulse.begins();
        assert_eq!(pulse.timed_out(), 1);
        assert_eq!(
            pulse.verdict(3, Duration::ZERO).0,
            Verdict::NeverAnswered { in_a_row: 2 }
        );
    }
}
