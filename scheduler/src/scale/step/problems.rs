use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::scale::step::{Adjustment, Step, StepPolicy};

/// The path of a field below the step policy, and what is wrong with it.
type Found = (Cow<'static, str>, String);

impl StepPolicy {
    /// Everything that is wrong with the steps.
    pub(crate) fn problems(&self) -> Vec<Found> {
        let mut found = Vec::new();
        if self.steps.is_empty() {
            found.push(("steps".into(), "has none, must have at least one".into()));
        }
        if self.dead_band_percent > 99 {
            let message = format!("is {}, must be at most 99", self.dead_band_percent);
            found.push(("dead_band_percent".into(), message));
        }
        for (index, step) in self.steps.iter().enumerate() {
            if let Some(message) = self.problem_of(step) {
                found.push((format!("steps[{index}]").into(), message));
            }
        }
        for (index, pair) in self.steps.windows(2).enumerate() {
            if let [below, above] = pair
                && let Some(message) = self.problem_between(below, above)
            {
                found.push((format!("steps[{}]", index + 1).into(), message));
            }
        }
        found
    }

    fn problem_of(&self, step: &Step) -> Option<String> {
        match (step.lower, step.upper) {
            (Some(lower), Some(upper)) if lower >= upper => {
                return Some(format!(
                    "{step} is empty, its upper bound must be above its lower one"
                ));
            }
            _ => {}
        }
        match self.adjustment {
            Adjustment::Exact if step.amount < 0 => {
                Some(format!("{step} sets a count, which must be at least 0"))
            }
            Adjustment::Percent if step.amount < -100 => Some(format!(
                "{step} takes more than there is, must be at least -100 %"
            )),
            _ => None,
        }
    }

    fn problem_between(&self, below: &Step, above: &Step) -> Option<String> {
        let (end, start) = match (below.upper, above.lower) {
            (Some(end), Some(start)) => (end, start),
            _ => {
                return Some(format!(
                    "{above} overlaps {below}: only the outermost bounds may be open"
                ));
            }
        };
        if start < end {
            return Some(format!("{above} overlaps {below} from {start} to {end}"));
        }
        if start > end {
            return Some(format!(
                "{above} leaves a gap after {below}, from {end} to {start}"
            ));
        }
        let turns = match self.adjustment {
            Adjustment::Exact => false,
            Adjustment::Change | Adjustment::Percent => below.amount.signum() * above.amount.signum() < 0,
        };
        (turns && self.dead_band_percent == 0).then(|| {
            format!("{above} undoes {below} at {start}: a step of 0 or a dead band must lie between them")
        })
    }
}
