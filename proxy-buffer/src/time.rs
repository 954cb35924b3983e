//! Time as a value: the gate never reads a clock.

use std::time::{Duration, Instant};

/// Nanoseconds since the proxy was made; monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(u64);

impl Timestamp {
    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    pub(crate) fn after(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// The shell's clock. It follows tokio's, so that tests may pause it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: tokio::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            origin: tokio::time::Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::default().after(self.origin.elapsed())
    }

    pub(crate) fn instant(&self, at: Timestamp) -> Instant {
        self.deadline(at).into_std()
    }

    pub(crate) fn deadline(&self, at: Timestamp) -> tokio::time::Instant {
        // A century is as good as never, and cannot overflow the clock.
        let century = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        self.origin + at.since(Timestamp::default()).min(century)
    }
}
