use core::fmt;
use core::ops::Add;
use core::time::Duration;

use crate::units::Span;

/// A moment on the caller's monotonic clock: nanoseconds since an origin of the caller's choice.
///
/// The scheduler reads no clock. Whoever drives it passes the time in; 584 years fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The origin of the clock.
    pub const ZERO: Self = Self(0);

    /// The latest time that is believed: what is due never is due at the one after it, and that never comes.
    pub(crate) const LAST: Self = Self(u64::MAX - 1);

    /// `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// `millis` milliseconds after the origin, at most the last moment that can be told.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Ends at the last moment that can be told instead of wrapping.
impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Span(Duration::from_nanos(self.0)).fmt(f)
    }
}

/// Whole microseconds, at most 584,000 years.
pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addition_ends_at_the_last_moment_instead_of_wrapping() {
        assert_eq!(
            Timestamp::from_nanos(u64::MAX - 1) + Duration::from_secs(1),
            Timestamp::from_nanos(u64::MAX)
        );
        assert_eq!(Timestamp::ZERO + Duration::MAX, Timestamp::from_nanos(u64::MAX));
    }

    #[test]
    fn an_earlier_moment_is_zero_after_a_later_one() {
        let (early, late) = (Timestamp::from_millis(3), Timestamp::from_millis(5));
        assert_eq!(late.saturating_since(early), Duration::from_millis(2));
        assert_eq!(early.saturating_since(late), Duration::ZERO);
    }
}
