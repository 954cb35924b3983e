use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::take;

use crate::config::ServiceConfig;
use crate::ladder::{Costs, Rung};
use crate::policy::Seen;
use crate::policy::gaps::inserted;
use crate::time::micros;

/// Running estimates of the median and the 95th percentile, in microseconds: each value moves them by a share of
/// themselves, more while they are young, so that half of all values lie above the one and a twentieth above the
/// other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quantiles {
    pub(crate) p50_us: u32,
    pub(crate) p95_us: u32,
    /// Values seen, at most 255.
    pub(crate) seen: u8,
    /// What it is about.
    pub(crate) kind: u8,
}

impl Quantiles {
    fn add(&mut self, value_us: u64) {
        let value = u32::try_from(value_us).unwrap_or(u32::MAX);
        if self.seen == 0 {
            (self.p50_us, self.p95_us) = (value, value);
        } else {
            let share = 4 + u32::from(self.seen.min(28));
            let middle = self.p50_us.abs_diff(value).min(self.p50_us / share + 1);
            self.p50_us = toward(self.p50_us, value, middle);
            // Nineteen steps down undo one up.
            let step = self.p95_us / share + 1;
            let tail = if value > self.p95_us {
                step
            } else {
                step.div_ceil(19)
            };
            self.p95_us = toward(self.p95_us, value, tail.min(self.p95_us.abs_diff(value)));
            self.p95_us = self.p95_us.max(self.p50_us);
        }
        self.seen = self.seen.saturating_add(1);
    }
}

fn toward(from: u32, to: u32, by: u32) -> u32 {
    if to > from {
        from.saturating_add(by)
    } else {
        from.saturating_sub(by)
    }
}

/// What was measured: by rung, the time to wake from there and the time to go there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    /// By what it is about; only what was seen.
    list: Box<[Quantiles]>,
}

/// Kinds of times: waking from each rung, then entering each.
pub(crate) const KINDS: u8 = 8;

impl Measured {
    /// Takes in what is about costs.
    pub(crate) fn observe(&mut self, config: &ServiceConfig, seen: &Seen) {
        let (kind, took) = match *seen {
            Seen::Started {
                from: Some(level),
                took,
                ..
            } => (wake_kind(Rung::Park(level)), took),
            // However a new instance is made, a wake after a stop would be made like that.
            Seen::Started { from: None, took, .. } => (wake_kind(Rung::Stop), took),
            Seen::Parked { level, took, .. } => (enter_kind(Rung::Park(level)), took),
            Seen::Level { .. } | Seen::Waited { .. } => return,
        };
        // Without such a rung that decides nothing.
        let stops = kind == wake_kind(Rung::Stop) && config.ladder.stop.is_none();
        if config.ladder.costs == Costs::Pinned || stops {
            return;
        }
        match self.list.binary_search_by_key(&kind, |quantiles| quantiles.kind) {
            Ok(index) => self.list[index].add(micros(took)),
            Err(index) => {
                let mut first = Quantiles {
                    kind,
                    ..Quantiles::default()
                };
                first.add(micros(took));
                self.list = inserted(take(&mut self.list), index, first);
            }
        }
    }

    pub(crate) fn wake_us(&self, rung: Rung) -> Option<u64> {
        self.find(wake_kind(rung))
            .map(|quantiles| u64::from(quantiles.p50_us))
    }

    /// How long waking takes at worst, nineteen times of twenty.
    pub(crate) fn slow_wake_us(&self, rung: Rung) -> Option<u64> {
        self.find(wake_kind(rung))
            .map(|quantiles| u64::from(quantiles.p95_us))
    }

    pub(crate) fn enter_us(&self, rung: Rung) -> Option<u64> {
        self.find(enter_kind(rung))
            .map(|quantiles| u64::from(quantiles.p50_us))
    }

    fn find(&self, kind: u8) -> Option<Quantiles> {
        let found = self.list.binary_search_by_key(&kind, |quantiles| quantiles.kind);
        found.ok().map(|index| self.list[index])
    }

    pub(crate) fn list(&self) -> &[Quantiles] {
        &self.list
    }

    /// Takes back what [`list`](Self::list) gave: kinds in order.
    pub(crate) fn from_list(list: Vec<Quantiles>) -> Option<Self> {
        let sound = |q: &Quantiles| q.kind < KINDS && q.p50_us <= q.p95_us && q.seen > 0;
        let sound = list.is_sorted_by(|a, b| a.kind < b.kind) && list.iter().all(sound);
        sound.then(|| Self {
            list: list.into_boxed_slice(),
        })
    }
}

fn wake_kind(rung: Rung) -> u8 {
    u8::try_from(rung.index()).unwrap_or(u8::MAX)
}

fn enter_kind(rung: Rung) -> u8 {
    wake_kind(rung).saturating_add(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::StartKind;

    /// A permutation of 0..1,000 again and again.
    fn uniform() -> impl Iterator<Item = u64> {
        (0..20_000_u64).map(|step| 10_000 + step * 617 % 1_000)
    }

    #[test]
    fn the_estimates_settle_at_the_median_and_the_95th_percentile() {
        let mut quantiles = Quantiles::default();
        uniform().for_each(|value| quantiles.add(value));
        assert!((10_300..10_700).contains(&quantiles.p50_us), "{quantiles:?}");
        assert!((10_800..11_100).contains(&quantiles.p95_us), "{quantiles:?}");
    }

    #[test]
    fn one_outlier_moves_the_median_little_and_a_change_moves_it_all_the_way() {
        let mut quantiles = Quantiles::default();
        (0..50).for_each(|_| quantiles.add(5_000));
        quantiles.add(10_000_000);
        assert!(quantiles.p50_us <= 5_200, "{quantiles:?}");
        (0..200).for_each(|_| quantiles.add(9_000));
        assert_eq!(quantiles.p50_us, 9_000);
    }

    #[test]
    fn only_what_decides_something_is_remembered() {
        let boot = Seen::Started {
            kind: StartKind::Boot,
            from: None,
            took: core::time::Duration::from_secs(1),
        };
        let mut measured = Measured::default();
        let mut config = ServiceConfig::default();
        measured.observe(&config, &boot);
        assert_eq!(measured.wake_us(Rung::Stop), None);
        config.ladder.stop = Some(crate::ladder::RungCost::STOP);
        measured.observe(&config, &boot);
        assert_eq!(measured.wake_us(Rung::Stop), Some(1_000_000));
    }
}
