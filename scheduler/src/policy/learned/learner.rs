use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::{replace, take};

use crate::config::ServiceConfig;
use crate::policy::gaps::Gaps;
use crate::policy::gaps::inserted;
use crate::policy::learned::hedge::Hedge;
use crate::policy::learned::level::{Kept, Level, clamp, group_of};
use crate::policy::measured::Measured;
use crate::policy::periodic::{Periodic, is_burst};
use crate::policy::slopes::{Bins, Slopes};
use crate::policy::{Basis, Bound, Idle, Observation, Plan, Seen};
use crate::time::Timestamp;

/// Levels whose gap is awaited, at most; when more fall, the highest are forgotten.
pub(crate) const MOST_OPEN: usize = 32;

/// What was learned about one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Learner {
    /// By group.
    pub(crate) levels: Box<[Level]>,
    /// When the levels that are not needed now were needed last, in microseconds: the highest first. A pool that
    /// never parks, so that gaps are seen whatever is done.
    pub(crate) open: Vec<u64>,
    /// When the level needed first was planned to go where, if somebody was expected.
    pub(crate) first: Option<Bins>,
    pub(crate) hedge: Hedge,
    pub(crate) measured: Measured,
    pub(crate) periodic: Option<Box<Periodic>>,
    /// The last call while there is no `periodic`, in microseconds; 0: none.
    pub(crate) called_us: u64,
    /// Calls until somebody may be periodic again.
    pub(crate) rest: u8,
    /// The prices for which the levels worked out their bins.
    pub(crate) priced: u32,
}

impl Learner {
    pub(crate) fn observe(&mut self, config: &ServiceConfig, seen: &Observation) {
        let at_us = micros_at(seen.at);
        match seen.seen {
            Seen::Level { before, after } if before < after => self.rise(config, at_us, before, after),
            Seen::Level { before, after } => {
                for _ in after..before {
                    self.fall(at_us);
                }
            }
            Seen::Waited { level, waited } => {
                let slopes = self.slopes(config);
                self.level(group_of(level)).waited(waited, &slopes);
            }
            Seen::Started { .. } | Seen::Parked { .. } => self.measured.observe(config, &seen.seen),
        }
    }

    /// Nobody looked for a while: gaps and intervals that are open are none.
    pub(crate) fn interrupt(&mut self) {
        self.open.clear();
        self.first = None;
        self.called_us = 0;
        if let Some(periodic) = &mut self.periodic {
            periodic.interrupt();
        }
    }

    fn fall(&mut self, at_us: u64) {
        if self.open.len() == MOST_OPEN {
            self.open.remove(0);
        }
        if self.open.len() == self.open.capacity() {
            self.open.reserve_exact(1);
        }
        self.open.push(at_us);
    }

    fn rise(&mut self, config: &ServiceConfig, at_us: u64, before: u32, after: u32) {
        let slopes = self.slopes(config);
        let mut woken_us = None;
        if before == 0 {
            woken_us = self.called(at_us, &slopes);
        }
        let mut first = self.first.take();
        for level in before + 1..=after {
            let (woken_us, first) = (woken_us.take(), first.take());
            let Some(since_us) = self.open.pop() else { break };
            // A clock that was set back tells no gap.
            let Some(gap_us) = at_us.checked_sub(since_us) else {
                continue;
            };
            let level = self.level(group_of(level));
            if level.gaps.total() > 0 {
                let kept = clamp(&first.unwrap_or(level.bins), &slopes);
                let wait = level.wait_permille();
                level.add(gap_us);
                self.hedge.add(&slopes, &kept.times, gap_us, wait, woken_us);
            } else {
                level.add(gap_us);
            }
        }
    }

    /// Somebody called. Who calls at random is not listened to for a while.
    fn called(&mut self, at_us: u64, slopes: &Slopes) -> Option<u64> {
        let last_us = replace(&mut self.called_us, at_us);
        if self.periodic.is_none() && last_us > 0 && !is_burst(at_us.saturating_sub(last_us), slopes) {
            self.rest = self.rest.saturating_sub(1);
            if self.rest == 0 {
                self.periodic = Some(Box::new(Periodic::new(last_us)));
            }
        }
        let periodic = self.periodic.as_mut()?;
        let woken_us = periodic.called(at_us, slopes);
        if periodic.is_hopeless() {
            self.periodic = None;
            self.rest = u8::MAX;
        }
        woken_us
    }

    pub(crate) fn plan(&mut self, config: &ServiceConfig, idle: &Idle) -> Plan {
        let slopes = self.slopes(config);
        let group = group_of(idle.level);
        let index = self.index(group);
        let priced = slopes.fingerprint();
        if priced != self.priced {
            self.priced = priced;
            self.levels.iter_mut().for_each(Level::outdate);
        }
        if self.levels[index].is_stale() {
            let mut level = replace(&mut self.levels[index], Level::new(group));
            let others = self.levels.iter().map(|level| &level.gaps);
            let all: Vec<&Gaps> = others.chain([&level.gaps]).collect();
            let weights = level.weights(&all);
            level.refresh(&slopes, &weights);
            self.levels[index] = level;
        }
        let level = &self.levels[index];
        let trust = |bins| match self.hedge.distrusts(&slopes) {
            true => Kept {
                times: slopes.envelope(),
                bound: Bound::Hedge,
            },
            false => clamp(bins, &slopes),
        };
        let mut kept = trust(&level.bins);
        let mut prewake = None;
        if idle.level == 1
            && let Some(periodic) = &mut self.periodic
        {
            let now_us = micros_at(idle.now);
            let slow_us = slow_wake(&slopes, &self.measured);
            if let Some(expected) = periodic.expect(now_us, &slopes, slow_us) {
                let left_us = expected.at_us.saturating_sub(micros_at(idle.since));
                let weights = level.weights(&[]).expecting(left_us, &expected);
                let bins = slopes.cheapest(&weights, level.wait_permille());
                kept = trust(&bins);
                if idle.now == idle.since {
                    self.first = Some(bins);
                }
                if kept.times[1] >= left_us {
                    periodic.is_awake();
                } else {
                    prewake = Some(expected.prewake);
                }
            }
        }
        let first = kept.times.get(1).copied().unwrap_or(u64::MAX);
        let basis = Basis::Learned {
            break_even: slopes.break_even(),
            samples: level.gaps.total(),
            shorter_permille: level.shorter_permille(first),
            bound: kept.bound,
        };
        slopes.plan(&kept.times, basis).with_prewake(prewake)
    }

    /// Memory in use, in bytes, with what the allocation itself holds.
    pub(crate) fn bytes(&self) -> usize {
        let levels: usize = self.levels.iter().map(|level| level.gaps.heap_bytes()).sum();
        size_of::<Self>()
            + levels
            + size_of_val(&*self.levels)
            + self.open.capacity() * size_of::<u64>()
            + size_of_val(self.measured.list())
            + self.periodic.as_ref().map_or(0, |_| size_of::<Periodic>())
    }

    fn slopes(&self, config: &ServiceConfig) -> Slopes {
        Slopes::of(config, Some(&self.measured))
    }

    fn index(&mut self, group: u8) -> usize {
        match self.levels.binary_search_by_key(&group, |level| level.group) {
            Ok(index) => index,
            Err(index) => {
                self.levels = inserted(take(&mut self.levels), index, Level::new(group));
                index
            }
        }
    }

    fn level(&mut self, group: u8) -> &mut Level {
        let index = self.index(group);
        &mut self.levels[index]
    }
}

/// How long a wake from the first rung takes at worst, nineteen times of twenty.
fn slow_wake(slopes: &Slopes, measured: &Measured) -> u64 {
    slopes.below().first().map_or(0, |slope| {
        let slow_us = slope.rung.and_then(|rung| measured.slow_wake_us(rung));
        slow_us.unwrap_or_default().max(slope.wake_us)
    })
}

fn micros_at(at: Timestamp) -> u64 {
    at.as_nanos() / 1_000
}
