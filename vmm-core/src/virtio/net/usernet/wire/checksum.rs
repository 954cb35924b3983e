//! The internet checksum (RFC 1071).

/// A running ones' complement sum over pieces of any length.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    total: u64,
    odd: bool,
}

impl Sum {
    /// Adds `bytes` behind what was added before.
    pub(crate) fn add(mut self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        let mut sum: u64 = words
            .iter()
            .map(|word| u64::from(u32::from_be_bytes(*word)))
            .sum();
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        sum += u64::from(u32::from_be_bytes(last));
        let folded = fold(sum);
        // A piece that starts at an odd offset has its bytes in the other halves of the words.
        self.total += u64::from(if self.odd { folded.swap_bytes() } else { folded });
        self.odd ^= bytes.len() % 2 == 1;
        self
    }

    /// The checksum field for what was added, or zero if what was added contains a right one.
    pub(crate) fn finish(self) -> u16 {
        !fold(self.total)
    }
}

fn fold(mut sum: u64) -> u16 {
    loop {
        match u16::try_from(sum) {
            Ok(sum) => return sum,
            Err(_) => sum = (sum & 0xffff) + (sum >> 16),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    proptest! {
        #[test]
        fn pieces_sum_like_the_whole(bytes: Vec<u8>, cuts in proptest::array::uniform2(0usize..200)) {
            let mut cuts = cuts.map(|cut| cut.min(bytes.len()));
            cuts.sort_unstable();
            let sum = Sum::default().add(&bytes[..cuts[0]]).add(&bytes[cuts[0]..cuts[1]]).add(&bytes[cuts[1]..]);
            prop_assert_eq!(sum.finish(), plain(&bytes));
        }
    }
}
