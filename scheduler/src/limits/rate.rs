use core::fmt;

/// How much of something there may be: in any span of `t` seconds at most `burst + per_second · t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// In the long run. From 1; 0 counts as 1.
    pub per_second: u64,
    /// At once, after a pause. From 1; 0 counts as 1.
    pub burst: u64,
}

impl RateLimit {
    /// So many a second, so many at once.
    pub const fn new(per_second: u64, burst: u64) -> Self {
        Self { per_second, burst }
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s, {} at once", self.per_second, self.burst)
    }
}
