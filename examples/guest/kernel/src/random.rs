//! Pseudo-random numbers for sequence numbers and ids; not for secrets.

/// The SplitMix64 generator: one word of state that any entropy can be mixed into.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Mixes `entropy` in. Two generators of equal state that mix different words go different ways.
    pub fn mix(&mut self, entropy: u64) {
        self.0 = scramble(self.0 ^ scramble(entropy));
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }
}

fn scramble(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_part_ways_when_they_mix_different_ids() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        assert_eq!(a.draw(), b.draw());
        a.mix(1);
        b.mix(2);
        assert_ne!(a.draw(), b.draw());
    }
}
