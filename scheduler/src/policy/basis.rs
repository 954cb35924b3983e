use core::fmt;
use core::time::Duration;

use crate::units::{Count, Span};

/// The numbers behind a [`Plan`](crate::Plan). Times are in microseconds, at most `u32::MAX`: 71 minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Basis {
    /// The configured cooldown; for other policies any time of theirs that needs no numbers to explain it.
    Cooldown,
    /// Ski rental: kept until that cost as much as the wake it would have saved.
    SkiRental(BreakEven),
    /// Ski rental over the gaps that were seen.
    Learned {
        /// What would be done without having learned.
        break_even: BreakEven,
        /// Gaps seen at this level.
        samples: u32,
        /// Of a thousand gaps seen, so many were over within the time it is kept.
        shorter_permille: u16,
        /// What set the time.
        bound: Bound,
    },
    /// No plan: its owner refused to park it, and is asked again after a pause that grows.
    Refused {
        /// How often in a row.
        times: u32,
    },
}

/// Where keeping an instance for one more moment costs as much as a wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakEven {
    /// T*, the time until then.
    pub after_us: u32,
    /// c, the time to wake it.
    pub wake_us: u32,
    /// β, how dear waiting is.
    pub beta: u32,
}

/// What set the time that a learning policy keeps an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// The gaps seen.
    Gaps,
    /// They asked for less than the least allowed, λT*.
    Floor,
    /// They asked for more than the most allowed, T*.
    Ceiling,
    /// What was learned did worse than T* would have, so that counts for now.
    Hedge,
}

impl BreakEven {
    /// From whole times; what is too long counts as 71 minutes.
    pub fn new(after: Duration, wake: Duration, beta: u32) -> Self {
        let micros = |span: Duration| u32::try_from(span.as_micros()).unwrap_or(u32::MAX);
        Self {
            after_us: micros(after),
            wake_us: micros(wake),
            beta,
        }
    }
}

impl fmt::Display for BreakEven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |micros: u32| Span(Duration::from_micros(u64::from(micros)));
        write!(
            f,
            "T* {}, c {}, β {}",
            span(self.after_us),
            span(self.wake_us),
            self.beta
        )
    }
}

/// What follows the time in a [`Reason`](crate::Reason): nothing, or the numbers in brackets.
impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cooldown => Ok(()),
            Self::SkiRental(break_even) => write!(f, " (ski rental: {break_even})"),
            Self::Learned {
                break_even,
                samples,
                shorter_permille,
                bound,
            } => {
                let bound = match bound {
                    Bound::Gaps => "",
                    Bound::Floor => ", at the floor λT*",
                    Bound::Ceiling => ", at the ceiling T*",
                    Bound::Hedge => ", hedged",
                };
                let percent = shorter_permille / 10;
                write!(
                    f,
                    " (learned: {percent} % of {samples} gaps shorter{bound}; {break_even})"
                )
            }
            Self::Refused { times } => write!(f, " (refused {})", Count(*times, "time")),
        }
    }
}
