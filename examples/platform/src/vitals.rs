//! What the controller learns of a service from the bytes that pass: when a wake's phases end, and whether its instance answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
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

/// So many answers one after the other, with none in between, that did not come in time make an instance as good as dead.
pub(crate) const MOST_TIMEOUTS: u32 = 3;

/// Whether a service's instance answers.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// Answers that did not come in time, since one came. Those that were waited for at once count as one: a guest that is
    /// merely slower than its crowd fails all of it together.
    timeouts: AtomicU32,
    /// When the last of them was counted, in nanoseconds of the controller's time.
    counted_ns: AtomicU64,
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

    /// An answer did not come in time, to a request that had waited so long at `now` of the controller's time. Says how many
    /// one after the other did not; `None` if this one was waited for beside the last.
    pub(crate) fn timed_out(&self, now: Duration, waited: Duration) -> Option<u32> {
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let begun_ns = nanos(now.saturating_sub(waited));
        let count =
            |last| (self.timeouts.load(Ordering::Relaxed) == 0 || begun_ns >= last).then_some(nanos(now));
        self.counted_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, count)
            .ok()?;
        Some(self.timeouts.fetch_add(1, Ordering::Relaxed).saturating_add(1))
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
        let timed_out = |at| pulse.timed_out(Duration::from_secs(at), Duration::from_secs(1));
        assert_eq!([1, 2].map(timed_out), [Some(1), Some(2)]);
        assert_eq!(
            pulse.verdict(3, Duration::ZERO).0,
            Verdict::NeverAnswered { in_a_row: 1 }
        );
        pulse.answered();
        assert_eq!(timed_out(3), Some(1));
        assert_eq!(pulse.verdict(3, Duration::ZERO).0, Verdict::Wedged);
        pulse.begins();
        pulse.begins();
        assert_eq!(timed_out(4), Some(1));
        assert_eq!(
            pulse.verdict(3, Duration::ZERO).0,
            Verdict::NeverAnswered { in_a_row: 2 }
        );
    }

    #[test]
    fn a_crowd_that_is_not_answered_in_time_counts_as_one() {
        let pulse = Pulse::default();
        pulse.begins();
        let (ms, waited) = (Duration::from_millis, Duration::from_millis(1_500));
        let crowd = [1_520, 1_521, 1_530, 2_900].map(|at| pulse.timed_out(ms(at), waited));
        assert_eq!(crowd, [Some(1), None, None, None]);
        assert_eq!(
            pulse.timed_out(ms(3_020), waited),
            Some(2),
            "asked when the first was told"
        );
        // Whoever asked before an answer came counts anew, once.
        pulse.answered();
        let late = [3_100, 3_101].map(|at| pulse.timed_out(ms(at), waited));
        assert_eq!(late, [Some(1), None]);
    }
}
