use core::time::Duration;

use crate::policy::Bound;
use crate::policy::gaps::{BINS, Gaps, lower_us, upper_us};
use crate::policy::slopes::{Bins, MOST, NEVER, Slopes, Times};
use crate::policy::weights::Weights;
use crate::time::micros;

/// Weight of one gap seen; what is not seen weighs parts of it.
const SAMPLE: u64 = 384;
/// Before anything was seen every bin is as likely as every other: four gaps' weight in all.
const PRIOR: u64 = 4 * SAMPLE / BINS as u64;
/// Weight, in gaps, of what the service's other levels saw.
const INHERITED: u64 = 4;
/// Weight, in waits, of the guess that who is delayed waits for the whole start.
const GUESSED_WAITS: u64 = 4;
/// With this many gaps of its own a level needs no others'.
const ENOUGH: u32 = 1_024;
/// Share, in tenths, of the waits seen in what a miss is taken to cost; the rest is a whole start.
const SEEN_TENTHS: u64 = 7;
/// A kept time is at least this part of T*: λ.
pub(crate) const LAMBDA: u64 = 128;
/// Bins are worked out again after more than this part of the gaps there are.
const FRESHNESS: u32 = 32;

/// Levels that learn together: the first four alone, then two groups per doubling.
pub(crate) fn group_of(level: u32) -> u8 {
    let Some(octave) = level.checked_ilog2().filter(|_| level > 4) else {
        return u8::try_from(level).unwrap_or(u8::MAX);
    };
    let upper_half = u64::from(level).pow(2) >= 2_u64 << (2 * octave);
    u8::try_from(2 + 2 * octave).unwrap_or(u8::MAX) + u8::from(upper_half)
}

/// What was learned about a group of levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) group: u8,
    pub(crate) gaps: Gaps,
    /// Mean wait of those who were delayed, in thousandths of a start with ten more bits, and how many there were, up
    /// to some.
    pub(crate) wait: u32,
    pub(crate) waits: u16,
    /// What was learned since the bins were worked out; they are worked out when there is enough of it.
    pub(crate) stale: u16,
    pub(crate) bins: Bins,
}

/// When to go where, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) times: Times,
    pub(crate) bound: Bound,
}

impl Level {
    /// Greatest [`wait`](Self::wait).
    pub(crate) const MOST_WAIT: u32 = 1_000 << 10;
    /// Greatest [`waits`](Self::waits).
    pub(crate) const MOST_WAITS: u16 = 1_024;

    pub(crate) fn new(group: u8) -> Self {
        Self {
            group,
            gaps: Gaps::default(),
            wait: 0,
            waits: 0,
            stale: u16::MAX,
            bins: [NEVER; MOST],
        }
    }

    /// The bins are to be worked out again.
    pub(crate) fn outdate(&mut self) {
        self.stale = u16::MAX;
    }

    /// Whether so much was learned that the bins may have changed.
    pub(crate) fn is_stale(&self) -> bool {
        u32::from(self.stale) > self.gaps.total() / FRESHNESS
    }

    pub(crate) fn add(&mut self, gap_us: u64) {
        self.gaps.add(gap_us);
        self.stale = self.stale.saturating_add(1);
    }

    /// Works out when it is cheapest to go where.
    pub(crate) fn refresh(&mut self, slopes: &Slopes, weights: &Weights) {
        self.bins = slopes.cheapest(weights, self.wait_permille());
        self.stale = 0;
    }

    /// What was seen here, mixed with what `all` levels saw and what is likely before anything was seen.
    pub(crate) fn weights(&self, all: &[&Gaps]) -> Weights {
        let mut weight = [PRIOR; BINS];
        for (bin, count) in self.gaps.counts() {
            weight[bin] += u64::from(count) * SAMPLE;
        }
        if self.gaps.total() < ENOUGH {
            let total: u64 = all.iter().map(|gaps| u64::from(gaps.total())).sum();
            for (bin, count) in all.iter().flat_map(|gaps| gaps.counts()) {
                weight[bin] += u64::from(count) * SAMPLE * INHERITED / total.max(INHERITED);
            }
        }
        Weights {
            weight,
            expected: [0; BINS],
            expected_cost_us: 0,
        }
    }

    pub(crate) fn waited(&mut self, waited: Duration, slopes: &Slopes) {
        let Some(first) = slopes.below().first().filter(|slope| slope.wake_us > 0) else {
            return;
        };
        // In a pool without bounds nobody waits longer than for a start of their own.
        let permille = u128::from(micros(waited)) * 1_000 / u128::from(first.wake_us);
        let permille = u32::try_from(permille).map_or(Self::MOST_WAIT, |permille| permille.min(1_000) << 10);
        self.waits = (self.waits + 1).min(Self::MOST_WAITS);
        let count = u32::from(self.waits);
        self.wait = if permille >= self.wait {
            self.wait + (permille - self.wait) / count
        } else {
            self.wait - (self.wait - permille) / count
        };
    }

    /// What part of a start somebody who is delayed is taken to wait, in thousandths.
    pub(crate) fn wait_permille(&self) -> u64 {
        let waits = u64::from(self.waits);
        let seen = u64::from(self.wait >> 10);
        let mean = (seen * waits + 1_000 * GUESSED_WAITS) / (waits + GUESSED_WAITS);
        (SEEN_TENTHS * mean + (10 - SEEN_TENTHS) * 1_000) / 10
    }

    /// Of a thousand gaps, those that were over by then.
    pub(crate) fn shorter_permille(&self, within_us: u64) -> u16 {
        let counts = self.gaps.counts();
        let shorter: u64 = counts
            .filter(|(bin, _)| upper_us(*bin) <= within_us)
            .map(|(_, count)| u64::from(count))
            .sum();
        u16::try_from(shorter * 1_000 / u64::from(self.gaps.total().max(1))).unwrap_or(1_000)
    }
}

/// Bins as times, none earlier than λ of the lower envelope nor later than it.
pub(crate) fn clamp(bins: &Bins, slopes: &Slopes) -> Kept {
    let envelope = slopes.envelope();
    let mut times = envelope;
    let mut bound = Bound::Gaps;
    for (index, (time, most)) in times.iter_mut().zip(envelope).enumerate().skip(1) {
        let wanted = match bins[index] {
            NEVER => u64::MAX,
            bin => lower_us(usize::from(bin)),
        };
        let least = most / LAMBDA;
        *time = wanted.clamp(least, most);
        if index == 1 && wanted < least {
            bound = Bound::Floor;
        } else if index == 1 && wanted > most {
            bound = Bound::Ceiling;
        }
    }
    Kept { times, bound }
}
