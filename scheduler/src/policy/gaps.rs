//! Gaps between uses of an instance, counted in logarithmic bins. Times are whole microseconds.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::take;

/// Bins: four per octave from 1 ms, so that the last begins after 3.3 hours. The first holds all that is shorter.
pub(crate) const BINS: usize = 96;
/// The root of the root of two, in millionths: 1, 2^¼, 2^½, 2^¾.
const QUARTERS: [u64; 4] = [1_000_000, 1_189_207, 1_414_214, 1_681_793];

/// Where a bin ends.
pub(crate) const fn upper_us(bin: usize) -> u64 {
    (1_000 * QUARTERS[bin % 4] / 1_000_000) << (bin / 4)
}

/// Where a bin begins.
pub(crate) const fn lower_us(bin: usize) -> u64 {
    if bin == 0 { 0 } else { upper_us(bin - 1) }
}

/// The bin of a gap.
pub(crate) fn bin_of(gap_us: u64) -> usize {
    let Some(octave) = (gap_us / 1_000).checked_ilog2() else {
        return 0;
    };
    let first = usize::try_from(octave).unwrap_or(BINS) * 4;
    let within = (first..first + 4).filter(|bin| upper_us((*bin).min(BINS)) <= gap_us);
    (first + within.count()).min(BINS - 1)
}

/// How many gaps fell into which bin. Three bytes for each bin that is not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gaps {
    /// By bin: the bin, and its count in two bytes.
    counts: Box<[[u8; 3]]>,
    total: u32,
}

impl Gaps {
    pub(crate) fn total(&self) -> u32 {
        self.total
    }

    /// By bin, those that are not empty.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (usize, u16)> {
        self.counts
            .iter()
            .map(|[bin, low, high]| (usize::from(*bin), u16::from_le_bytes([*low, *high])))
    }

    /// Counts one gap. When a bin is full, all are halved, rounding up: what was rare stays in memory.
    pub(crate) fn add(&mut self, gap_us: u64) {
        let bin = u8::try_from(bin_of(gap_us)).unwrap_or(u8::MAX);
        match self.counts.binary_search_by_key(&bin, |[bin, ..]| *bin) {
            Ok(index) => {
                if read(&self.counts[index]) == u16::MAX {
                    self.halve();
                }
                let count = read(&self.counts[index]);
                write(&mut self.counts[index], count + 1);
            }
            Err(index) => {
                self.counts = inserted(take(&mut self.counts), index, [bin, 1, 0]);
            }
        }
        self.total += 1;
    }

    fn halve(&mut self) {
        self.total = 0;
        for entry in &mut self.counts {
            let half = read(entry).div_ceil(2);
            write(entry, half);
            self.total += u32::from(half);
        }
    }

    /// Takes back what [`counts`](Self::counts) gave: bins in order, none empty.
    pub(crate) fn from_counts(counts: impl Iterator<Item = (u8, u16)>) -> Option<Self> {
        let mut gaps = Self::default();
        let mut list: Vec<[u8; 3]> = Vec::new();
        for (bin, count) in counts {
            let in_order = list.last().is_none_or(|[last, ..]| *last < bin);
            if !in_order || usize::from(bin) >= BINS || count == 0 {
                return None;
            }
            let [low, high] = count.to_le_bytes();
            list.push([bin, low, high]);
            gaps.total += u32::from(count);
        }
        gaps.counts = list.into_boxed_slice();
        Some(gaps)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.counts)
    }
}

/// With one more item, and no room to spare: most lists never grow again.
pub(crate) fn inserted<T>(list: Box<[T]>, index: usize, item: T) -> Box<[T]> {
    let mut list = list.into_vec();
    list.reserve_exact(1);
    list.insert(index, item);
    list.into_boxed_slice()
}

fn read([_, low, high]: &[u8; 3]) -> u16 {
    u16::from_le_bytes([*low, *high])
}

fn write(entry: &mut [u8; 3], count: u16) {
    let [low, high] = count.to_le_bytes();
    *entry = [entry[0], low, high];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gap_is_in_the_bin_that_holds_it() {
        let mut gap = 1;
        while gap < 20_000_000_000 {
            let bin = bin_of(gap);
            assert!(lower_us(bin) <= gap, "{gap}");
            assert!(gap < upper_us(bin) || bin == BINS - 1, "{gap}");
            gap += gap / 37 + 1;
        }
        assert_eq!(bin_of(u64::MAX), BINS - 1);
        assert!((0..BINS).is_sorted_by_key(upper_us));
    }

    #[test]
    fn a_full_bin_halves_all_and_forgets_nothing_rare() {
        let mut gaps = Gaps::default();
        gaps.add(3_600_000_000);
        for _ in 0..70_000 {
            gaps.add(5_000);
        }
        let counts: Vec<_> = gaps.counts().map(|(_, count)| count).collect();
        assert_eq!(counts, [32_768 + 4_465, 1]);
        assert_eq!(gaps.total(), u32::from(counts[0]) + 1);
    }

    #[test]
    fn counts_are_taken_back_only_in_order() {
        assert!(Gaps::from_counts([(3, 1), (9, 2)].into_iter()).is_some());
        for damaged in [
            [(3, 1), (3, 2)],
            [(9, 1), (3, 2)],
            [(3, 0), (4, 1)],
            [(3, 1), (96, 1)],
        ] {
            assert_eq!(Gaps::from_counts(damaged.into_iter()), None);
        }
    }
}
