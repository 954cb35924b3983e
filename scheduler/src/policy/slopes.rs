//! The ladder as a ski rental with several slopes. Times and costs are whole microseconds of a running idle instance.

mod cheapest;
#[cfg(test)]
mod tests;

use core::time::Duration;

use crate::config::ServiceConfig;
use crate::ladder::Rung;
use crate::policy::gaps::{BINS, bin_of};
use crate::policy::measured::Measured;
use crate::policy::{Basis, BreakEven, Plan};
use crate::time::micros;

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
                let place = u64::try_from(rung * BINS * BINS + bins).unwrap_or(u64::MAX);
                mix(mix(sum, place), slope.rate)
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
}

fn rent(rate: u64, span_us: u64) -> u64 {
    match rate.checked_mul(span_us) {
        Some(cost) => cost / 1_000,
        None => u64::try_from(u128::from(rate) * u128::from(span_us) / 1_000).unwrap_or(u64::MAX),
    }
}
