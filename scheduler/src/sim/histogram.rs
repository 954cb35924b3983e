use std::boxed::Box;
use std::vec;

/// Sub-buckets per octave: values are kept to within 0.8 %.
const PER_OCTAVE: u64 = 128;
const BITS: u32 = 7;
const BUCKETS: usize = (64 - 6) * 128;

/// Counts of values, exact below 256 and to within 0.8 % above, in 58 KiB whatever is counted.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Box<[u64]>,
    len: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS].into(),
            len: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// Counts a value.
    pub fn add(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
        self.len += 1;
        self.max = self.max.max(value);
    }

    /// Counts all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.len += other.len;
        self.max = self.max.max(other.max);
    }

    /// Values counted.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The greatest value, exactly; 0 if there is none.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The value that this many of a million are not above: 990,000 for p99. At most 0.8 % above the truth, never
    /// below it.
    pub fn quantile(&self, ppm: u32) -> u64 {
        let wanted = u128::from(self.len) * u128::from(ppm);
        let mut seen = 0_u128;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count) * 1_000_000;
            if seen >= wanted && *count > 0 {
                return upper(bucket).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(value: u64) -> usize {
    let octave = (value | (PER_OCTAVE * 2 - 1)).ilog2() - BITS;
    let place = (value >> octave) + u64::from(octave) * PER_OCTAVE;
    usize::try_from(place).unwrap_or(BUCKETS - 1)
}

/// The greatest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let place = bucket as u64;
    let octave = (place / PER_OCTAVE).saturating_sub(1);
    let mantissa = place - octave * PER_OCTAVE;
    ((u128::from(mantissa) + 1) << octave)
        .saturating_sub(1)
        .try_into()
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_in_its_bucket_and_buckets_follow_each_other() {
        for value in [
            0,
            1,
            127,
            128,
            255,
            256,
            257,
            5_000,
            50_000,
            1 << 40,
            u64::MAX - 1,
            u64::MAX,
        ] {
            let at = bucket(value);
            assert!(
                upper(at) >= value && (at == 0 || upper(at - 1) < value),
                "{value}"
            );
            assert!(upper(at) - value <= value / 128, "{value}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_of_what_was_counted() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(990_000), 0);
        for _ in 0..98 {
            histogram.add(0);
        }
        histogram.add(5_000);
        let mut other = Histogram::default();
        other.add(70_000);
        histogram.merge(&other);
        let quantiles = [500_000, 980_000, 990_000, 1_000_000].map(|ppm| histogram.quantile(ppm));
        assert_eq!(
            (quantiles, histogram.len(), histogram.max()),
            ([0, 0, 5_023, 70_000], 100, 70_000)
        );
    }
}
