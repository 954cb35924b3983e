//! The ladder as a ski rental with several slopes. Times and costs are whole microseconds of a running idle instance.

use core::time::Duration;

use crate::config::ServiceConfig;
use crate::ladder::Rung;
use crate::policy::gaps::{BINS, bin_of, lower_us, upper_us};
use crate::policy::measured::Measured;
use crate::policy::weights::Weights;
use crate::policy::{Basis, BreakEven, Plan};

/// Running, and every rung.
pub(crate) const MOST: usize = Rung::COUNT + 1;
/// When each rung of a [`Slopes`] is entered, from the second on; the first is running.
pub(crate) type Times = [u64; MOST];
/// The same, as the bins at whose beginning that is.
pub(crate) type Bins = [u8; MOST];
/// After every bin.
pub(crate) const NEVER: u8 = u8::MAX;

/// One state of an idle instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slope {
    /// `None`: running.
    pub(crate) rung: Option<Rung>,
    /// Thousandths of running, above those of the deepest rung: what is paid there in any case decides nothing.
    pub(crate) rate: u64,
    /// To wake from there.
    pub(crate) wake_us: u64,
    /// To go there.
    pub(crate) enter_us: u64,
    /// When the lower envelope goes there.
    pub(crate) from_us: u64,
}

impl Slope {
    /// What it costs to be found there by a request that waits `wait_permille` of the time to wake.
    pub(crate) fn miss(&self, beta: u32, wait_permille: u64) -> u64 {
        let waits = u64::from(beta)
            .saturating_mul(wait_permille)
            .saturating_mul(self.wake_us)
            / 1_000;
        self.wake_us.saturating_add(waits)
    }
}

/// The states worth being in, the shallowest first: those on the lower envelope of cost over time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slopes {
    list: [Slope; MOST],
    len: usize,
    pub(crate) beta: u32,
}

impl Slopes {
    /// Of a service; measured costs take the place of configured ones.
    pub(crate) fn of(config: &ServiceConfig, measured: Option<&Measured>) -> Self {
        let mut slopes = Self {
            list: [Slope::default(); MOST],
            len: 1,
            beta: config.ladder.dial.beta(),
        };
        let costs = Rung::ALL.map(|rung| config.ladder.cost(rung, config.park_level));
        let rungs = || {
            Rung::ALL
                .into_iter()
                .zip(costs)
                .filter_map(|(rung, cost)| Some((rung, cost?)))
        };
        let deepest = rungs()
            .map(|(_, cost)| u64::from(cost.rate_permille))
            .min()
            .unwrap_or(0);
        slopes.list[0].rate = 1_000 - deepest.min(1_000);
        let mut wake_us = 0;
        for (rung, cost) in rungs() {
            // A deeper rung is never taken to wake sooner, whatever was measured.
            wake_us = wake_us.max(
                measured
                    .and_then(|m| m.wake_us(rung))
                    .unwrap_or(micros(cost.wake)),
            );
            slopes.push(Slope {
                rung: Some(rung),
                rate: u64::from(cost.rate_permille).saturating_sub(deepest),
                wake_us,
                enter_us: measured
                    .and_then(|m| m.enter_us(rung))
                    .unwrap_or(micros(cost.enter)),
                from_us: 0,
            });
        }
        slopes
    }

    /// Adds a deeper state, and drops those that are never the cheapest with it.
    fn push(&mut self, mut slope: Slope) {
        loop {
            let top = self.list[self.len - 1];
            let Some(saved) = top.rate.checked_sub(slope.rate).filter(|saved| *saved > 0) else {
                return;
            };
            let dearer = (slope.miss(self.beta, 1_000).saturating_add(slope.enter_us))
                .saturating_sub(top.miss(self.beta, 1_000));
            slope.from_us = match dearer.checked_mul(1_000) {
                Some(dearer) => dearer / saved,
                None => (dearer / saved).saturating_mul(1_000),
            };
            if self.len == 1 || slope.from_us > top.from_us {
                break;
            }
            self.len -= 1;
        }
        self.list[self.len] = slope;
        self.len += 1;
    }

    /// The states below running.
    pub(crate) fn below(&self) -> &[Slope] {
        &self.list[1..self.len]
    }

    pub(crate) fn all(&self) -> &[Slope] {
        &self.list[..self.len]
    }

    /// When the lower envelope goes where: twice the optimum at most, whatever the gap.
    pub(crate) fn envelope(&self) -> Times {
        self.list.map(|slope| slope.from_us)
    }

    /// What a gap costs that is spent at these times in these states.
    pub(crate) fn cost(&self, times: &Times, gap_us: u64, wait_permille: u64) -> u64 {
        let (rent, at) = self.rent(times, gap_us);
        let miss = if at.rung.is_some() {
            at.miss(self.beta, wait_permille)
        } else {
            0
        };
        rent.saturating_add(miss)
    }

    /// The same but for the end: and where that is.
    pub(crate) fn rent(&self, times: &Times, gap_us: u64) -> (u64, Slope) {
        let mut cost = 0_u64;
        let mut at = self.list[0];
        let mut since = 0;
        for (slope, from) in self.all().iter().zip(times).skip(1) {
            let from = (*from).max(since);
            if from >= gap_us {
                break;
            }
            cost = cost
                .saturating_add(rent(at.rate, from - since))
                .saturating_add(slope.enter_us);
            (at, since) = (*slope, from);
        }
        let last = rent(at.rate, gap_us.saturating_sub(since));
        (cost.saturating_add(last), at)
    }

    /// What it costs if the gap is known: at once to where that is cheapest, rung by rung.
    pub(crate) fn offline(&self, gap_us: u64, wait_permille: u64) -> u64 {
        let mut least = rent(self.list[0].rate, gap_us);
        let mut entered = 0_u64;
        for slope in self.below() {
            entered = entered.saturating_add(slope.enter_us);
            let cost = rent(slope.rate, gap_us)
                .saturating_add(slope.miss(self.beta, wait_permille))
                .saturating_add(entered);
            least = least.min(cost);
        }
        least
    }

    /// Changes with the ladder and the dial, and when a measured cost moved by a bin.
    pub(crate) fn fingerprint(&self) -> u32 {
        let mix = |sum: u32, part: u64| {
            let part = u32::try_from(part & 0xffff_ffff).unwrap_or_default();
            (sum ^ part).wrapping_mul(0x0100_0193).rotate_left(5)
        };
        self.all()
            .iter()
            .fold(mix(1, u64::from(self.beta)), |sum, slope| {
                let rung = slope.rung.map_or(0, |rung| 1 + rung.index());
                let bins = bin_of(slope.wake_us) * BINS + bin_of(slope.enter_us);
                mix(mix(sum, (rung * BINS * BINS + bins) as u64), slope.rate)
            })
    }

    /// The break-even with the first rung; all zero without one.
    pub(crate) fn break_even(&self) -> BreakEven {
        let first = self.below().first().copied().unwrap_or_default();
        BreakEven::new(
            Duration::from_micros(first.from_us),
            Duration::from_micros(first.wake_us),
            self.beta,
        )
    }

    /// A plan that goes down at these times.
    pub(crate) fn plan(&self, times: &Times, basis: Basis) -> Plan {
        let mut plan = Plan::stay(basis);
        for (slope, from_us) in self.all().iter().zip(times) {
            if let Some(rung) = slope.rung {
                plan = plan.then(rung, Duration::from_micros(*from_us));
            }
        }
        plan
    }

    /// The bins at whose beginning it is cheapest to enter each state, for gaps of these weights; [`NEVER`] where that
    /// is when the lower envelope does, or later. Costs are in thousandths here.
    pub(crate) fn cheapest(&self, gaps: &Weights, wait_permille: u64) -> Bins {
        let states = self.all();
        let last = states.len() - 1;
        let found = |index: usize| {
            let miss = match index {
                0 => 0,
                _ => 1_000 * u128::from(states[index].miss(self.beta, wait_permille)),
            };
            // What is spared where somebody is expected.
            (
                miss,
                miss.saturating_sub(1_000 * u128::from(gaps.expected_cost_us)),
            )
        };
        let mut found_at = [(0, 0); MOST];
        for (index, found_at) in found_at.iter_mut().enumerate().take(states.len()) {
            *found_at = found(index);
        }
        // From there on the instance is in the deepest state in any case.
        let horizon = (bin_of(states[last].from_us) + 1).min(BINS);
        let mut longer: u128 = gaps.weight[horizon..].iter().copied().map(u128::from).sum();
        let expected: u128 = gaps.expected[horizon..].iter().copied().map(u128::from).sum();
        let mut ahead = [0_u128; MOST];
        for (index, ahead) in ahead.iter_mut().enumerate() {
            let enter_us = if index == last { 0 } else { states[last].enter_us };
            let (miss, spared) = found_at[last];
            *ahead = longer * (miss + 1_000 * u128::from(enter_us)) - expected * spared;
        }
        let mut choice = [[0_u8; MOST]; BINS];
        for bin in (0..horizon).rev() {
            let (here, expected) = (u128::from(gaps.weight[bin]), u128::from(gaps.expected[bin]));
            let width = u128::from(upper_us(bin) - lower_us(bin));
            let time = here * width / 2 + longer * width;
            longer += here;
            let mut stay = [u128::MAX; MOST];
            for (index, state) in states.iter().enumerate() {
                let (miss, spared) = found_at[index];
                stay[index] = u128::from(state.rate) * time + here * miss - expected * spared + ahead[index];
            }
            // From the deepest: a tie goes to the deeper state.
            for index in (0..=last).rev() {
                let mut best = (stay[index], index);
                for (deeper, state) in states.iter().enumerate().skip(index + 1) {
                    let enter = 1_000 * u128::from(state.enter_us) * longer;
                    let cost = stay[deeper].saturating_add(enter);
                    if cost <= best.0 {
                        best = (cost, deeper);
                    }
                }
                ahead[index] = best.0;
                choice[bin][index] = u8::try_from(best.1).unwrap_or(NEVER);
            }
        }
        let mut bins = [NEVER; MOST];
        bins[0] = 0;
        let mut state = 0;
        for (bin, choice) in choice.iter().enumerate().take(horizon) {
            let next = usize::from(choice[state]);
            bins[state + 1..=next].fill(u8::try_from(bin).unwrap_or(NEVER));
            state = next;
        }
        bins
    }
}

fn rent(rate: u64, span_us: u64) -> u64 {
    match rate.checked_mul(span_us) {
        Some(cost) => cost / 1_000,
        None => u64::try_from(u128::from(rate) * u128::from(span_us) / 1_000).unwrap_or(u64::MAX),
    }
}

/// Whole microseconds, at most 584,000 years.
pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ladder::{Dial, LadderConfig, RungCost};

    fn slopes(ladder: LadderConfig) -> Slopes {
        let config = ServiceConfig {
            ladder,
            ..ServiceConfig::default()
        };
        Slopes::of(&config, None)
    }

    fn every_rung(beta: u32, enter: Duration) -> Slopes {
        let rung = |cost: RungCost| Some(RungCost { enter, ..cost });
        slopes(LadderConfig {
            dial: Dial::Beta(beta),
            paused: rung(RungCost::PAUSED),
            ram: rung(RungCost::RAM),
            disk: rung(RungCost::DISK),
            stop: rung(RungCost::STOP),
            ..LadderConfig::default()
        })
    }

    #[test]
    fn one_rung_breaks_even_after_c_times_1_plus_beta() {
        let slopes = slopes(LadderConfig {
            dial: Dial::Beta(20),
            ram: Some(RungCost::new(0, Duration::from_millis(5))),
            ..LadderConfig::default()
        });
        assert_eq!(slopes.envelope()[1], 105_000);
    }

    #[test]
    fn a_rung_that_never_pays_is_left_out() {
        let slopes = slopes(LadderConfig {
            paused: Some(RungCost::new(900, Duration::from_millis(5))),
            ram: Some(RungCost::new(50, Duration::from_millis(5))),
            ..LadderConfig::default()
        });
        let rungs: alloc::vec::Vec<_> = slopes
            .below()
            .iter()
            .map(|slope| slope.rung.map(Rung::index))
            .collect();
        assert_eq!(rungs, [Some(1)]);
    }

    proptest! {
        #[test]
        fn the_envelope_costs_at_most_twice_the_optimum(
            beta in 0..3_000_u32,
            enter in 0..20_000_u64,
            gap in (0..40_u32, 0..1_000_u64),
        ) {
            let slopes = every_rung(beta, Duration::from_micros(enter));
            let gap = (1_u64 << gap.0) + (1_u64 << gap.0) * gap.1 / 1_000;
            let cost = slopes.cost(&slopes.envelope(), gap, 1_000);
            prop_assert!(cost <= 2 * slopes.offline(gap, 1_000) + 8, "{cost} {}", slopes.offline(gap, 1_000));
        }

        /// Every pair of bins for two rungs, against the dynamic programme.
        #[test]
        fn no_other_times_are_cheaper(weights in prop::collection::vec((0..44_usize, 1..50_u64), 1..8)) {
            let slopes = slopes(LadderConfig {
                dial: Dial::Beta(20),
                ram: Some(RungCost::new(100, Duration::from_millis(5))),
                disk: Some(RungCost { enter: Duration::from_millis(3), ..RungCost::new(0, Duration::from_millis(20)) }),
                ..LadderConfig::default()
            });
            let mut gaps = Weights { weight: [0; BINS], expected: [0; BINS], expected_cost_us: 0 };
            for (bin, weight) in weights {
                gaps.weight[bin] += weight;
            }
            let cost = |bins: [usize; 2]| -> u128 {
                let times = [0, lower_us(bins[0]), lower_us(bins[1]), 0, 0];
                let each = gaps.weight.iter().enumerate().filter(|(_, weight)| **weight > 0);
                each.map(|(bin, weight)| {
                    // Who is in a bin when it begins pays half of it.
                    let gap = (lower_us(bin) + upper_us(bin)) / 2;
                    u128::from(*weight) * u128::from(slopes.cost(&times, gap, 1_000))
                }).sum()
            };
            let horizon = bin_of(slopes.envelope()[2]) + 1;
            let chosen = slopes.cheapest(&gaps, 1_000);
            let chosen = [chosen[1], chosen[2]].map(|bin| usize::from(bin).min(horizon));
            let least = (0..=horizon).flat_map(|a| (a..=horizon).map(move |b| [a, b])).map(cost).min();
            let (found, least) = (cost(chosen), least.unwrap_or(0));
            prop_assert!(found <= least + least / 100 + 100, "{chosen:?}: {found} {least}");
        }
    }
}
