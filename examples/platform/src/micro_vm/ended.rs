//! Instances that have ended: what they were started from is judged at once, and what they knew is put aside later.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use scheduler::InstanceId;
use tracing::warn;

use super::host::{Instance, MicroVmHost, TEMPLATE_FILE};
use super::kept;
use super::parked::{Origin, ParkedVm};
use crate::aside::rename_aside;
use crate::causes::causes;
use crate::host::Verdict;

/// Instances in a row that never answered before the service's snapshot counts as the reason.
const MOST_SILENT_STARTS: u32 = 2;
/// Instances that have ended and wait to be put aside; each takes its memory. What is too many is lost.
const MOST_WAITING: usize = 4;

/// Instances that have ended and are to be put aside.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// Guards the queue alone, oldest first.
    waiting: Mutex<VecDeque<(Instance, String)>>,
    /// Held while they are written: two writers would take the same name. Taken before all other locks.
    writing: Mutex<()>,
}

impl Ended {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<(Instance, String)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MicroVmHost {
    /// Ends an instance that is dead or not wanted.
    pub(super) fn end(&self, instance: InstanceId) {
        const WHY: &str = "its instance has ended";
        self.put_file_aside(WHY);
        match self.take_out(instance) {
            Some(Instance::Awake(awake)) => self.pool.retire(awake.vm),
            Some(Instance::Asleep(saved)) => self.leave_saved(saved, WHY),
            None => {}
        }
    }

    /// Ends an instance that does not answer.
    pub(super) fn end_silent(&self, instance: InstanceId, verdict: Verdict) {
        const WHY: &str = "its instance did not answer";
        self.put_file_aside(WHY);
        match self.take_out(instance) {
            Some(Instance::Awake(mut awake)) => {
                self.judge_template(awake.origin, verdict);
                match verdict {
                    // All that it knows is what it was started from.
                    Verdict::NeverAnswered { .. } => self.pool.retire(awake.vm),
                    Verdict::Wedged => {
                        // It does nothing more from now on. One that has stopped cannot be saved either, which is told then.
                        let _ = awake.vm.pause();
                        self.leave(Instance::Awake(awake), WHY);
                    }
                }
            }
            Some(Instance::Asleep(saved)) => self.leave_saved(saved, WHY),
            None => {}
        }
    }

    /// Puts a state aside that nothing will go on from.
    pub(super) fn forsake(&self, saved: ParkedVm, why: &str) {
        self.put_file_aside(why);
        self.leave_saved(saved, why);
    }

    /// Writes what was left to be put aside. Blocks for as long as that takes.
    pub(super) fn write_ended(&self) {
        let _writing = self.ended.writing.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let next = self.ended.waiting().pop_front();
            let Some((left, why)) = next else {
                return;
            };
            let saved = match left {
                Instance::Asleep(saved) => Ok(saved),
                Instance::Awake(awake) => self.save(awake).map(|saved| saved.parked),
            };
            match saved {
                Ok(saved) => kept::put_state_aside(&self.hypervisor, &self.options, &saved, &why),
                Err((awake, cause)) => {
                    warn!(reason = causes(&*cause), "the state of an instance is lost");
                    self.pool.retire(awake.vm);
                }
            }
        }
    }

    fn take_out(&self, instance: InstanceId) -> Option<Instance> {
        self.instances().remove(&instance)
    }

    /// Puts the file of an earlier run aside: it was this instance's, and may be what ended it. Not one that nothing has gone on
    /// from yet.
    pub(super) fn put_file_aside(&self, why: &str) {
        if self.kept().is_none() {
            kept::put_file_aside(&self.options, why);
        }
    }

    /// One that was never woken from the file or snapshot that it began with is there.
    fn leave_saved(&self, saved: ParkedVm, why: &str) {
        if saved.wakes > 0 || saved.origin == Origin::Image {
            self.leave(Instance::Asleep(saved), why);
        }
    }

    /// Has an instance put aside, if there is a place for it.
    fn leave(&self, left: Instance, why: &str) {
        let lost = if self.options.keep {
            let mut waiting = self.ended.waiting();
            if waiting.len() < MOST_WAITING {
                return waiting.push_back((left, why.to_owned()));
            }
            "too many are being put aside at this moment"
        } else {
            "--state-dir keeps such states"
        };
        warn!(why, "the state of an instance is lost; {lost}");
        if let Instance::Awake(awake) = left {
            self.pool.retire(awake.vm);
        }
    }

    /// Has a new snapshot made by the next boot if it is this one that does not answer. If that is no better, it is tried after
    /// twice as many instances each time, until one answers.
    fn judge_template(&self, origin: Origin, verdict: Verdict) {
        const WHY: &str = "instances from it do not answer";
        let Verdict::NeverAnswered { in_a_row } = verdict else {
            return;
        };
        let due = in_a_row >= MOST_SILENT_STARTS && in_a_row.is_power_of_two();
        if !due || origin != Origin::Template || self.template().take().is_none() {
            return;
        }
        let path = self.options.dir.join(TEMPLATE_FILE);
        if self.options.keep {
            rename_aside(&path, WHY);
        } else if let Err(error) = std::fs::remove_file(&path) {
            warn!(path = %path.display(), %error, "cannot remove the service's snapshot; it will be replaced");
        }
    }
}
