//! Feature bits: what the device offers, what the driver took (virtio 1.2, sections 2.2 and 4.2.2).

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;

/// Offered and acknowledged feature bits, seen through the two 32-bit windows of the transport.
#[derive(Debug)]
pub(crate) struct Features {
    offered: u64,
    pub(crate) acked: u64,
    /// `DeviceFeaturesSel`.
    pub(crate) offered_page: u32,
    /// `DriverFeaturesSel`.
    pub(crate) acked_page: u32,
}

impl Features {
    pub(crate) fn new(offered: u64) -> Self {
        Features {
            offered,
            acked: 0,
            offered_page: 0,
            acked_page: 0,
        }
    }

    /// The word of offered bits the driver has selected; pages past the second read as zero.
    pub(crate) fn offered_word(&self) -> u32 {
        let [low, high] = words(self.offered);
        match self.offered_page {
            0 => low,
            1 => high,
            _ => 0,
        }
    }

    /// Takes the word of acknowledged bits the driver wrote. There are no bits past the second page to take.
    pub(crate) fn ack_word(&mut self, word: u32) {
        let [low, high] = words(self.acked);
        self.acked = match self.acked_page {
            0 => join(word, high),
            1 => join(low, word),
            _ => return,
        };
    }

    /// Whether the driver took a set we can work with: a subset of the offer, with `VIRTIO_F_VERSION_1` in it.
    pub(crate) fn acceptable(&self) -> bool {
        self.acked & !self.offered == 0 && self.has(VIRTIO_F_VERSION_1)
    }

    /// Whether feature `bit` was acknowledged.
    pub(crate) fn has(&self, bit: u32) -> bool {
        self.acked & mask(bit) != 0
    }

    pub(crate) fn reset(&mut self) {
        *self = Features::new(self.offered);
    }
}

/// The mask of feature number `bit` (0..64).
pub(crate) const fn mask(bit: u32) -> u64 {
    1 << bit
}

/// The low and the high half of `value`.
pub(crate) fn words(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

/// The reverse of [`words`].
pub(crate) fn join(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acked(offered: u64, acked: u64) -> Features {
        let mut features = Features::new(offered);
        let [low, high] = words(acked);
        features.ack_word(low);
        features.acked_page = 1;
        features.ack_word(high);
        features
    }

    #[test]
    fn a_subset_with_version_1_is_accepted() {
        assert!(acked(mask(32) | mask(5) | mask(29), mask(32) | mask(5)).acceptable());
    }

    #[test]
    fn a_bit_that_was_not_offered_is_refused() {
        assert!(!acked(mask(32) | mask(5), mask(32) | mask(6)).acceptable());
    }

    #[test]
    fn a_driver_without_version_1_is_refused() {
        assert!(!acked(mask(32) | mask(5), mask(5)).acceptable());
    }

    #[test]
    fn pages_past_the_second_are_empty() {
        let mut features = Features::new(u64::MAX);
        features.offered_page = 2;
        features.acked_page = u32::MAX;
        features.ack_word(u32::MAX);
        assert_eq!((features.offered_word(), features.acked), (0, 0));
    }
}
