//! How often something may be said.

use std::time::{Duration, Instant};

/// A bucket of words: as many at once as it holds, and one more with every interval.
#[derive(Debug)]
pub(crate) struct Pace {
    most: u32,
    interval: Duration,
    left: u32,
    /// The next interval counts from here.
    since: Instant,
}

impl Pace {
    /// A full bucket at `now`.
    pub(crate) const fn new(most: u32, interval: Duration, now: Instant) -> Self {
        Self {
            most,
            interval,
            left: most,
            since: now,
        }
    }

    /// Takes one word, or says how long to wait for it.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        while self.left < self.most && now.saturating_duration_since(self.since) >= self.interval {
            self.left += 1;
            self.since += self.interval;
        }
        if self.left == self.most {
            self.since = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return Err(self.interval - now.saturating_duration_since(self.since)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_at_once_and_then_one_with_every_interval() {
        let begun = Instant::now();
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(3, second, begun);
        assert_eq!([(); 3].map(|()| pace.take(begun)), [Ok(()); 3]);
        assert_eq!(pace.take(begun), Err(second));
        let half = begun + second / 2;
        assert_eq!(pace.take(half), Err(second / 2));
        assert_eq!(pace.take(begun + second), Ok(()));
        assert_eq!(pace.take(begun + second), Err(second));
        // Silence fills it, but no higher than its rim.
        let later = begun + 100 * second;
        assert_eq!([(); 3].map(|()| pace.take(later)), [Ok(()); 3]);
        assert_eq!(pace.take(later), Err(second));
    }
}
