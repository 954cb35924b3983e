use crate::limits::config::percent_of;

/// What a node that runs out of memory does without, one thing after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum BrownOut {
    /// Nothing: there is enough.
    #[default]
    None,
    /// Nobody is woken before it is asked for. Below 10 % available.
    NoPrewakes,
    /// And idle instances fall asleep after a quarter of their time. Below 7 %.
    ShortKeep,
    /// And what sleeps in RAM is moved to disk, what falls asleep does so there. Below 5 %.
    EvictCache,
    /// And requests of low priority that need a start are shed. Below 2 %.
    Shed,
}

/// Where each step begins, in percent of the memory; it ends at one and a half times as much.
const STEPS: [(BrownOut, u8); 4] = [
    (BrownOut::Shed, 2),
    (BrownOut::EvictCache, 5),
    (BrownOut::ShortKeep, 7),
    (BrownOut::NoPrewakes, 10),
];

/// How far the memory of a node is gone, by what its owner measures.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pressure {
    step: BrownOut,
    available: u64,
    was_measured: bool,
}

impl Pressure {
    pub(crate) fn step(&self) -> BrownOut {
        self.step
    }

    pub(crate) fn available(&self) -> u64 {
        self.available
    }

    pub(crate) fn was_measured(&self) -> bool {
        self.was_measured
    }

    /// So much of `total` is available now.
    pub(crate) fn measured(&mut self, available: u64, total: u64) {
        self.available = available;
        self.was_measured = true;
        let begins = |limit| available < percent_of(total, limit);
        let lasts = |limit| available < (percent_of(total, limit) / 2).saturating_mul(3);
        let step = STEPS
            .into_iter()
            .find(|&(step, limit)| begins(limit) || (step <= self.step && lasts(limit)));
        self.step = step.map_or(BrownOut::None, |(step, _)| step);
    }

    /// So much was made available since.
    pub(crate) fn reclaimed(&mut self, bytes: u64) {
        self.available = self.available.saturating_add(bytes);
    }

    /// Bytes that have to become available for what sleeps in RAM to stay there.
    pub(crate) fn missing(&self, total: u64) -> u64 {
        if self.step < BrownOut::EvictCache {
            return 0;
        }
        percent_of(total, 10).saturating_sub(self.available)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: u64 = 1_000;

    fn steps(available: &[u64]) -> alloc::vec::Vec<BrownOut> {
        let mut pressure = Pressure::default();
        let measured = available.iter().map(|available| {
            pressure.measured(*available, TOTAL);
            pressure.step()
        });
        measured.collect()
    }

    #[test]
    fn steps_come_one_by_one_as_memory_goes() {
        use BrownOut::{EvictCache, NoPrewakes, None, Shed, ShortKeep};
        let seen = steps(&[500, 100, 99, 69, 49, 19]);
        assert_eq!(seen, [None, None, NoPrewakes, ShortKeep, EvictCache, Shed]);
    }

    #[test]
    fn a_step_ends_well_above_where_it_began() {
        use BrownOut::{EvictCache, NoPrewakes, None, Shed, ShortKeep};
        let seen = steps(&[19, 29, 30, 74, 75, 104, 105, 149, 150]);
        let back = [
            Shed, Shed, EvictCache, EvictCache, ShortKeep, ShortKeep, NoPrewakes, NoPrewakes, None,
        ];
        assert_eq!(seen, back);
    }

    #[test]
    fn memory_without_a_limit_is_no_sum_too_large() {
        let mut pressure = Pressure::default();
        pressure.measured(u64::MAX, u64::MAX);
        assert_eq!(pressure.step(), BrownOut::None);
        pressure.measured(0, u64::MAX);
        pressure.measured(u64::MAX, u64::MAX);
        assert_eq!(pressure.step(), BrownOut::None);
    }

    #[test]
    fn memory_that_swings_around_a_limit_changes_nothing() {
        let seen = steps(&[99, 101, 99, 101, 99, 101]);
        assert!(seen.iter().all(|step| *step == BrownOut::NoPrewakes), "{seen:?}");
    }
}
