//! Sequence numbers (RFC 9293, section 3.4).

use serde::{Deserialize, Serialize};

/// A sequence number. Two of them compare by their distance, which must be below 2^31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seq(pub(crate) u32);

impl Seq {
    pub(crate) fn plus_u32(self, count: u32) -> Seq {
        Seq(self.0.wrapping_add(count))
    }

    pub(crate) fn plus(self, count: usize) -> Seq {
        self.plus_u32(u32::try_from(count).expect("no buffer of a connection is larger than its window"))
    }

    /// How far this is behind `earlier`, or `None` if it comes before it.
    pub(crate) fn after(self, earlier: Seq) -> Option<u32> {
        let distance = self.0.wrapping_sub(earlier.0);
        (distance < 1 << 31).then_some(distance)
    }

    /// As [`after`](Self::after), for a distance that is known to be one.
    pub(crate) fn distance(self, earlier: Seq) -> usize {
        self.after(earlier)
            .and_then(|distance| usize::try_from(distance).ok())
            .unwrap_or(0)
    }

    pub(crate) fn at_or_after(self, other: Seq) -> bool {
        self.after(other).is_some()
    }

    pub(crate) fn max(self, other: Seq) -> Seq {
        if self.at_or_after(other) { self } else { other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_across_the_wrap() {
        let (before, after) = (Seq(u32::MAX - 1), Seq(3));
        assert_eq!(after.after(before), Some(5));
        assert_eq!(before.after(after), None);
        assert_eq!(before.max(after), after);
        assert_eq!(before.plus(5), after);
    }
}
