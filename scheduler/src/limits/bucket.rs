use core::time::Duration;

use crate::limits::rate::RateLimit;
use crate::time::Timestamp;

const NANOS: i128 = 1_000_000_000;

/// A token bucket, exact: what is in it is counted in billionths of a token, so that no refill is rounded.
///
/// Who needs more than the burst may take it when the bucket is full, and the bucket owes the rest.
#[derive(Debug)]
pub(crate) struct Bucket {
    limit: Option<RateLimit>,
    /// Billionths of a token; negative while some are owed.
    level: i128,
    at: Timestamp,
}

impl Bucket {
    /// Full; `None` is no limit.
    pub(crate) fn new(limit: Option<RateLimit>, now: Timestamp) -> Self {
        let mut bucket = Self {
            limit,
            level: 0,
            at: now,
        };
        bucket.level = bucket.full();
        bucket
    }

    pub(crate) fn limit(&self) -> Option<RateLimit> {
        self.limit
    }

    /// Whether nothing that was taken is missing any more.
    pub(crate) fn is_full(&self, now: Timestamp) -> bool {
        self.level_at(now) >= self.full()
    }

    /// A new limit. What was taken before stays taken.
    pub(crate) fn set_limit(&mut self, limit: Option<RateLimit>, now: Timestamp) {
        self.level = self.level_at(now);
        self.at = self.at.max(now);
        let was_full = self.is_full(now);
        self.limit = limit;
        self.level = if was_full {
            self.full()
        } else {
            self.level.min(self.full())
        };
    }

    /// Whether so many may be taken now.
    pub(crate) fn has(&self, now: Timestamp, tokens: u64) -> bool {
        self.limit.is_none() || self.level_at(now) >= self.needed(tokens)
    }

    pub(crate) fn take(&mut self, now: Timestamp, tokens: u64) {
        self.put(now, -i128::from(tokens));
    }

    /// What was taken is not used after all.
    pub(crate) fn give_back(&mut self, now: Timestamp, tokens: u64) {
        self.put(now, i128::from(tokens));
    }

    /// Takes them, now or in advance, and says from when on they may be used.
    pub(crate) fn book(&mut self, now: Timestamp, tokens: u64) -> Timestamp {
        let at = self.next_at(now, tokens);
        self.take(now, tokens);
        at
    }

    /// The first moment at which so many may be taken, if nobody else takes any.
    pub(crate) fn next_at(&self, now: Timestamp, tokens: u64) -> Timestamp {
        let Some(limit) = self.limit else {
            return now;
        };
        let missing = self.needed(tokens).saturating_sub(self.level_at(now)).max(0);
        let rate = i128::from(limit.per_second.max(1));
        let nanos = u64::try_from((missing + rate - 1) / rate).unwrap_or(u64::MAX);
        now + Duration::from_nanos(nanos)
    }

    fn put(&mut self, now: Timestamp, tokens: i128) {
        if self.limit.is_some() {
            let level = self.level_at(now).saturating_add(tokens.saturating_mul(NANOS));
            self.level = level.min(self.full());
            self.at = self.at.max(now);
        }
    }

    fn level_at(&self, now: Timestamp) -> i128 {
        let Some(limit) = self.limit else {
            return self.level;
        };
        let passed = i128::from(now.as_nanos().saturating_sub(self.at.as_nanos()));
        let earned = passed.saturating_mul(i128::from(limit.per_second.max(1)));
        self.level.saturating_add(earned).min(self.full())
    }

    fn full(&self) -> i128 {
        self.limit
            .map_or(0, |limit| i128::from(limit.burst.max(1)) * NANOS)
    }

    fn needed(&self, tokens: u64) -> i128 {
        (i128::from(tokens) * NANOS).min(self.full())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn a_burst_goes_at_once_and_then_the_rate_counts_to_the_nanosecond() {
        let mut bucket = Bucket::new(Some(RateLimit::new(3, 2)), at(0));
        for _ in 0..2 {
            assert!(bucket.has(at(0), 1));
            bucket.take(at(0), 1);
        }
        assert_eq!(bucket.next_at(at(0), 1), at(333_333_334));
        assert!(!bucket.has(at(333_333_333), 1));
        assert!(bucket.has(at(333_333_334), 1));
    }

    #[test]
    fn no_limit_is_never_empty() {
        let mut bucket = Bucket::new(None, at(0));
        bucket.take(at(0), u64::MAX);
        assert!(bucket.has(at(0), u64::MAX));
        assert_eq!(bucket.book(at(7), u64::MAX), at(7));
    }

    #[test]
    fn more_than_the_burst_waits_for_a_full_bucket_and_is_paid_for_afterwards() {
        let mut bucket = Bucket::new(Some(RateLimit::new(10, 5)), at(0));
        assert_eq!(bucket.book(at(0), 20), at(0));
        assert_eq!(bucket.next_at(at(0), 1), at(1_600_000_000));
    }

    #[test]
    fn bookings_come_one_after_the_other_and_can_be_given_back() {
        let mut bucket = Bucket::new(Some(RateLimit::new(1_000, 1)), at(0));
        let booked: Vec<_> = (0..3).map(|_| bucket.book(at(0), 1)).collect();
        assert_eq!(booked, [at(0), at(1_000_000), at(2_000_000)]);
        bucket.give_back(at(0), 1);
        assert_eq!(bucket.book(at(0), 1), at(2_000_000));
    }

    #[test]
    fn a_new_limit_does_not_forget_what_was_taken() {
        let mut bucket = Bucket::new(Some(RateLimit::new(1, 10)), at(0));
        bucket.take(at(0), 10);
        bucket.set_limit(Some(RateLimit::new(1, 100)), at(0));
        assert!(!bucket.has(at(0), 1));
        let mut full = Bucket::new(None, at(0));
        full.set_limit(Some(RateLimit::new(1, 3)), at(0));
        assert!(full.has(at(0), 3));
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_its_rate_and_one_burst(
            (rate, burst) in (1..5_000_u64, 1..50_u64),
            steps in vec((0..3_000_000_u64, 1..4_u64, prop::bool::weighted(0.2)), 1..300),
        ) {
            let burst = burst.max(4);
            let mut bucket = Bucket::new(Some(RateLimit::new(rate, burst)), at(0));
            let (mut now, mut used) = (0, Vec::new());
            for (wait, tokens, books) in steps {
                now += wait;
                if books {
                    used.push((bucket.book(at(now), tokens).as_nanos(), tokens));
                } else if bucket.has(at(now), tokens) {
                    bucket.take(at(now), tokens);
                    used.push((now, tokens));
                }
            }
            used.sort_unstable();
            for (first, &(from, _)) in used.iter().enumerate() {
                let mut sum = 0;
                for &(to, tokens) in &used[first..] {
                    sum += tokens;
                    let most = u128::from(burst) * 1_000_000_000 + u128::from(rate) * u128::from(to - from);
                    prop_assert!(u128::from(sum) * 1_000_000_000 <= most + u128::from(rate), "{sum} in {}", to - from);
                }
            }
        }

        #[test]
        fn the_next_moment_is_the_first_one(rate in 1..2_000_000_000_u64, burst in 1..50_u64, taken in 0..90_u64) {
            let mut bucket = Bucket::new(Some(RateLimit::new(rate, burst)), at(0));
            bucket.take(at(0), taken);
            let next = bucket.next_at(at(0), 1);
            if next > at(0) {
                prop_assert!(!bucket.has(at(next.as_nanos() - 1), 1));
            }
            prop_assert!(bucket.has(next, 1));
        }
    }
}
