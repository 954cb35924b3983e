use std::string::String;
use std::vec::Vec;

use super::contender::Contender;
use crate::sim::live::LiveCounts;
use crate::sim::outcome::Outcome;

/// What one policy did with one trace at one start time.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name of the trace.
    pub trace: String,
    /// Name of the policy, with its β if it heeds it.
    pub policy: String,
    /// The policy.
    pub contender: Contender,
    /// The β it was given.
    pub own_beta: Option<u32>,
    /// How long a start took, in microseconds.
    pub cold_start_us: u64,
    /// Idle memory, that of keeping each instance for 10 minutes being 1.
    pub waste: f64,
    /// For each β of the study J: the cost, that of one who knows the future and keeps or parks being 1.
    pub relative_cost: Vec<(u32, f64)>,
    /// What else there is to tell, if a real scheduler ran.
    pub live: Option<LiveCounts>,
    /// Everything else.
    pub outcome: Outcome,
}

impl Row {
    /// J at a β of the study.
    pub fn relative_cost_at(&self, beta: u32) -> Option<f64> {
        let found = self.relative_cost.iter().find(|(of, _)| *of == beta);
        found.map(|(_, cost)| *cost)
    }
}
