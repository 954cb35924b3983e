use crate::policy::gaps::{BINS, bin_of};
use crate::policy::periodic::Expectation;

/// Gaps by bin, in any unit of weight.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    pub(crate) weight: [u64; BINS],
    /// Of those, the ones for which an instance will have been woken in time,
    pub(crate) expected: [u64; BINS],
    /// and what that costs.
    pub(crate) expected_cost_us: u64,
}

impl Weights {
    /// The gaps that are over when somebody is expected, about so long from now, are expected.
    pub(crate) fn expecting(mut self, left_us: u64, expectation: &Expectation) -> Self {
        let total: u64 = self.weight.iter().sum();
        let mut share = total / 1_000 * expectation.permille;
        let bin = bin_of(left_us);
        for bin in [bin, bin.saturating_sub(1), bin + 1] {
            let weight = self.weight.get(bin).copied().unwrap_or(0).min(share);
            if let Some(expected) = self.expected.get_mut(bin) {
                *expected = weight;
            }
            share -= weight;
        }
        self.expected_cost_us = expectation.cost_us;
        self
    }
}
