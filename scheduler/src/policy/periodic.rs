//! Callers that come at the same intervals. Times are whole microseconds.

use core::time::Duration;

use crate::policy::slopes::Slopes;
use crate::policy::{Prewake, Rhythm};
use crate::time::Timestamp;

/// Intervals that are told apart.
pub(crate) const BEATS: usize = 4;
/// Intervals seen, together, before all counts are halved: so soon a changed interval counts more than the old one.
const MEMORY: u8 = 64;
/// Intervals that are enough to tell that there is no rhythm.
const HEARD: u32 = 48;
/// Missed in a row, after which nobody is woken,
const MOST_MISSES: u8 = 6;
/// until so many calls in a row came when an instance would have been awake.
const SHADOW_HITS: u8 = 2;
/// What hits earn is counted up to so many misses. Nobody is woken for who has not earned what that costs in vain.
const BUDGET: u64 = 4;
/// Calls this many wakes apart or less are one call.
const BURST_WAKES: u64 = 8;

/// Unit of an interval.
const UNIT_US: u64 = 32;

/// An interval between calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beat {
    /// In units of 32 µs, up to 38 hours.
    pub(crate) after: u32,
    /// How far calls stray from it to either side.
    pub(crate) spread_us: u32,
    /// How often it was seen.
    pub(crate) count: u8,
}

impl Beat {
    fn after_us(self) -> u64 {
        u64::from(self.after) * UNIT_US
    }

    fn set_after_us(&mut self, after_us: u64) {
        self.after = u32::try_from(after_us / UNIT_US).unwrap_or(u32::MAX);
    }
}

/// When somebody is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from_us: u64,
    pub(crate) hold_us: u32,
    /// Whether an instance is woken, or this is only to see how it would have been.
    pub(crate) active: bool,
}

impl Window {
    fn until_us(self) -> u64 {
        self.from_us + u64::from(self.hold_us)
    }
}

/// Who is expected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expectation {
    pub(crate) prewake: Prewake,
    /// When they are expected.
    pub(crate) at_us: u64,
    /// How likely that is.
    pub(crate) permille: u64,
    /// What being awake for them costs, divided by how likely they come.
    pub(crate) cost_us: u64,
}

/// What is known about the calls of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Periodic {
    /// The last call, and when it would have come if it did not stray; 0: nobody called since an interruption.
    pub(crate) called_us: u64,
    pub(crate) beat_us: u64,
    pub(crate) beats: [Beat; BEATS],
    /// Intervals that were none of these.
    pub(crate) others: u8,
    pub(crate) misses: u8,
    pub(crate) hits: u8,
    /// What windows spared when somebody came, less what they cost in vain, whether somebody was woken or not: nothing
    /// at first, and never less. So intervals that agree by chance pay for themselves before anybody is woken.
    pub(crate) earned_us: u32,
    /// The window that is next or now, and the one after it.
    pub(crate) window: Option<Window>,
    pub(crate) next: Option<Window>,
    /// Expected calls, and those that came in their window.
    pub(crate) judged: u16,
    pub(crate) met: u16,
}

impl Periodic {
    /// Intervals that are remembered at most.
    pub(crate) const MOST_SEEN: u8 = MEMORY;
    /// Expected calls that are counted at most.
    pub(crate) const MOST_JUDGED: u16 = 1_000;

    /// After the first call.
    pub(crate) fn new(called_us: u64) -> Self {
        Self {
            called_us,
            beat_us: called_us,
            ..Self::default()
        }
    }

    /// Whether so much was heard that there would be an interval by now, and there is none.
    pub(crate) fn is_hopeless(&self) -> bool {
        let seen = self.seen();
        let most = self.beats.iter().map(|beat| u32::from(beat.count)).max();
        seen > HEARD && most.unwrap_or(0) < seen / 8
    }

    /// Nobody looked for a while: the intervals stay, but when the next one began is not known.
    pub(crate) fn interrupt(&mut self) {
        (self.called_us, self.beat_us) = (0, 0);
        (self.window, self.next) = (None, None);
    }

    /// Somebody called while no instance was needed. What it cost to be awake for them, if that was done.
    pub(crate) fn called(&mut self, at_us: u64, slopes: &Slopes) -> Option<u64> {
        let (_, miss_us) = costs(slopes)?;
        let last_us = core::mem::replace(&mut self.called_us, at_us);
        if at_us < self.beat_us || self.beat_us == 0 {
            // The clock was set back, or nobody looked.
            self.beat_us = at_us;
            (self.window, self.next) = (None, None);
            return None;
        }
        if is_burst(at_us.saturating_sub(last_us), slopes) {
            return None;
        }
        let woken_us = self.judge(at_us, miss_us);
        self.learn(at_us, miss_us);
        woken_us
    }

    /// What a call says about the windows there were; what it cost to be awake for it.
    fn judge(&mut self, at_us: u64, miss_us: u64) -> Option<u64> {
        self.judge_passed(at_us);
        let window = self.window.take().or(self.next.take());
        let Some(window) = window.filter(|window| window.from_us <= at_us) else {
            self.hits = 0;
            return None;
        };
        let idle_us = at_us - window.from_us;
        self.count(1);
        self.hits = self.hits.saturating_add(1);
        if self.misses < MOST_MISSES || self.hits >= SHADOW_HITS {
            self.misses = 0;
        }
        let spared = saturated(miss_us).saturating_sub(saturated(idle_us));
        let earned_us = self.earned_us.saturating_add(spared);
        self.earned_us = earned_us.min(saturated(BUDGET.saturating_mul(miss_us)));
        window.active.then_some(idle_us)
    }

    /// Windows that are over, and nobody came.
    fn judge_passed(&mut self, now_us: u64) {
        for window in [self.window.take(), self.next.take()].into_iter().flatten() {
            if window.until_us() >= now_us {
                let slot = if self.window.is_none() {
                    &mut self.window
                } else {
                    &mut self.next
                };
                *slot = Some(window);
                continue;
            }
            self.count(0);
            self.misses = self.misses.saturating_add(1);
            self.earned_us = self.earned_us.saturating_sub(window.hold_us);
        }
    }

    fn count(&mut self, met: u16) {
        self.judged += 1;
        self.met += met;
        if self.judged == Self::MOST_JUDGED {
            (self.judged, self.met) = (self.judged / 2, self.met / 2);
        }
    }

    fn learn(&mut self, at_us: u64, miss_us: u64) {
        let gap_us = at_us.saturating_sub(self.beat_us);
        let tolerance_us = (miss_us / 2).min(gap_us / 8).max(1_000);
        let nearest = self.beats.iter_mut().filter(|beat| beat.count > 0);
        let nearest = nearest.min_by_key(|beat| beat.after_us().abs_diff(gap_us));
        match nearest.filter(|beat| beat.after_us().abs_diff(gap_us) <= tolerance_us) {
            Some(beat) => {
                let after_us = beat.after_us();
                let off_us = after_us.abs_diff(gap_us);
                let count = u64::from(beat.count);
                let phase = off_us / count.clamp(2, 8);
                let center = off_us / (count + 1).min(32);
                let due_us = self.beat_us + after_us;
                if gap_us >= after_us {
                    self.beat_us = due_us + phase;
                    beat.set_after_us(after_us + center);
                } else {
                    self.beat_us = due_us - phase;
                    beat.set_after_us(after_us - center);
                }
                let decay = if beat.count < 8 { 4 } else { 32 };
                let off = saturated(off_us);
                beat.spread_us = off.max(beat.spread_us - beat.spread_us / decay);
                beat.count += 1;
            }
            None => {
                let strays = self
                    .beats
                    .iter()
                    .any(|beat| beat.after_us() > gap_us && u32::from(beat.count) * 2 > self.seen());
                let mut beat = Beat {
                    after: 0,
                    spread_us: saturated(tolerance_us / 2),
                    count: 1,
                };
                beat.set_after_us(gap_us);
                self.add(beat);
                if !strays {
                    self.beat_us = at_us;
                }
            }
        }
        if self.seen() >= u32::from(MEMORY) {
            for beat in &mut self.beats {
                beat.count = beat.count.div_ceil(2);
            }
            self.others /= 2;
        }
    }

    /// Takes in a new interval: in the place of the rarest one, once that was outweighed.
    fn add(&mut self, new: Beat) {
        let Some(rarest) = self.beats.iter_mut().min_by_key(|beat| beat.count) else {
            return;
        };
        if rarest.count <= 1 {
            self.others += rarest.count;
            *rarest = new;
        } else {
            rarest.count -= 1;
            self.others += 2;
        }
    }

    fn seen(&self) -> u32 {
        let beats: u32 = self.beats.iter().map(|beat| u32::from(beat.count)).sum();
        beats + u32::from(self.others)
    }

    /// Who is expected first from now on, if waking an instance for them costs less than it spares.
    pub(crate) fn expect(&mut self, now_us: u64, slopes: &Slopes, slow_wake_us: u64) -> Option<Expectation> {
        let (wake_us, miss_us) = costs(slopes)?;
        self.judge_passed(now_us);
        if self.beat_us == 0 {
            return None;
        }
        let guard_us = wake_us / 16;
        let mut first: Option<(Window, Expectation)> = None;
        for beat in self.beats.iter().filter(|beat| beat.count > 0) {
            let spread_us = u64::from(beat.spread_us);
            let at_us = self.beat_us + beat.after_us();
            let from_us = at_us.saturating_sub(spread_us + guard_us + slow_wake_us);
            let hold_us = 2 * (spread_us + guard_us) + slow_wake_us;
            if from_us <= now_us || first.is_some_and(|(window, _)| window.from_us <= from_us) {
                continue;
            }
            let no_sooner = self
                .beats
                .iter()
                .filter(|other| other.after_us() >= beat.after_us());
            let no_sooner: u64 = no_sooner.map(|other| u64::from(other.count)).sum();
            let permille = 1_000 * u64::from(beat.count) / (no_sooner + u64::from(self.others) + 1);
            let hit_us = slow_wake_us + guard_us + spread_us;
            let cost_us = permille * hit_us + (1_000 - permille) * hold_us;
            if permille * miss_us <= cost_us {
                continue;
            }
            let judged = u64::from(self.judged).max(1);
            let basis = Rhythm {
                period_us: beat.after_us(),
                jitter_us: beat.spread_us,
                hits_permille: u16::try_from(1_000 * u64::from(self.met) / judged).unwrap_or(1_000),
            };
            let (at, hold) = (Duration::from_micros(from_us), Duration::from_micros(hold_us));
            let window = Window {
                from_us,
                hold_us: saturated(hold_us),
                active: self.misses < MOST_MISSES && u64::from(self.earned_us) >= hold_us,
            };
            let expectation = Expectation {
                prewake: Prewake::new(Timestamp::ZERO + at, hold, basis),
                at_us,
                permille,
                cost_us: cost_us / permille,
            };
            first = Some((window, expectation));
        }
        let next = first.map(|(window, _)| window);
        (self.window, self.next) = match self.window.filter(|window| window.from_us <= now_us) {
            Some(now) => (Some(now), next),
            None => (next, None),
        };
        let (window, expectation) = first?;
        window.active.then_some(expectation)
    }

    /// Nobody need be woken for: the instance will still be awake.
    pub(crate) fn is_awake(&mut self) {
        if self.next.take().is_none() {
            self.window = None;
        }
    }
}

/// Whether calls so far apart are one call.
pub(crate) fn is_burst(gap_us: u64, slopes: &Slopes) -> bool {
    costs(slopes).is_none_or(|(wake_us, _)| gap_us <= wake_us.saturating_mul(BURST_WAKES))
}

fn saturated(us: u64) -> u32 {
    u32::try_from(us).unwrap_or(u32::MAX)
}

/// To wake from the first rung, and to be found there.
fn costs(slopes: &Slopes) -> Option<(u64, u64)> {
    let first = slopes.below().first().filter(|slope| slope.wake_us > 0)?;
    Some((first.wake_us, first.miss(slopes.beta, 1_000)))
}
