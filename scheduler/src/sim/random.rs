use crate::random::Random as Bits;

/// A small repeatable source of random numbers (SplitMix64): the same seed gives the same numbers on every machine.
///
/// For simulations, never for secrets.
#[derive(Clone, Debug)]
pub struct Random(Bits);

impl Random {
    /// A source for one thing; different seeds give unrelated numbers.
    pub fn new(seed: u64) -> Self {
        Self(Bits::new(
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03,
        ))
    }

    /// The source for the `stream`-th thing of a simulation with this seed.
    pub fn of_stream(seed: u64, stream: u64) -> Self {
        Self::new(seed.wrapping_mul(1_000_003).wrapping_add(stream))
    }

    /// Any 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next()
    }

    /// From 0 up to, not including, 1.
    pub fn unit(&mut self) -> f64 {
        const SCALE: f64 = 1.0 / (1_u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * SCALE
    }

    /// From 0 up to, not including, `end`; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0.below(end)
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    /// A wait between events that come at random, in the unit of its mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.unit()).ln() * mean
    }

    /// How many tries until one succeeds, that one included: 1 or more, `mean` on average.
    pub fn geometric(&mut self, mean: f64) -> u64 {
        let mut tries = 1;
        while self.unit() > 1.0 / mean {
            tries += 1;
        }
        tries
    }
}

/// The whole part of a number of microseconds; what does not fit is cut.
pub(crate) fn micros(value: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "such a cast saturates, which is what is wanted"
    )]
    let whole = value as u64;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            [random.next_u64(), random.next_u64()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn means_are_as_asked() {
        let mut random = Random::new(1);
        let mut mean = |draw: &mut dyn FnMut(&mut Random) -> f64| {
            (0..100_000).map(|_| draw(&mut random)).sum::<f64>() / 100_000.0
        };
        assert!((mean(&mut Random::unit) - 0.5).abs() < 0.01);
        assert!((mean(&mut |r| r.exponential(3.0)) - 3.0).abs() < 0.1);
        assert!((mean(&mut |r| r.geometric(8.0) as f64) - 8.0).abs() < 0.2);
        assert!((mean(&mut |r| r.below(11) as f64) - 5.0).abs() < 0.1);
    }
}
