use super::{Bins, MOST, NEVER, Slopes};
use crate::policy::gaps::{BINS, bin_of, lower_us, upper_us};
use crate::policy::weights::Weights;

/// What it costs to be found in a state by a request, in thousandths of a microsecond as all costs here.
#[derive(Clone, Copy, Default)]
struct Found {
    miss: u128,
    /// What is spared of that where somebody is expected.
    spared: u128,
}

/// By bin and state: where to be from the beginning of the bin on.
type Choices = [[u8; MOST]; BINS];

/// A dynamic programme over the bins, from the last one that matters to the first.
impl Slopes {
    /// The bins at whose beginning it is cheapest to enter each state, for gaps of these weights; [`NEVER`] where that
    /// is when the lower envelope does, or later.
    pub(crate) fn cheapest(&self, gaps: &Weights, wait_permille: u64) -> Bins {
        let mut found = [Found::default(); MOST];
        for (found, slope) in found.iter_mut().zip(self.all()).skip(1) {
            found.miss = 1_000 * u128::from(slope.miss(self.beta, wait_permille));
            found.spared = found
                .miss
                .saturating_sub(1_000 * u128::from(gaps.expected_cost_us));
        }
        // From there on the instance is in the deepest state in any case.
        let horizon = (bin_of(self.list[self.len - 1].from_us) + 1).min(BINS);
        let choices = self.choices(gaps, &found, horizon);
        let mut bins = [NEVER; MOST];
        bins[0] = 0;
        let mut state = 0;
        for (bin, choice) in choices.iter().enumerate().take(horizon) {
            let next = usize::from(choice[state]);
            bins[state + 1..=next].fill(u8::try_from(bin).unwrap_or(NEVER));
            state = next;
        }
        bins
    }

    fn choices(&self, gaps: &Weights, found: &[Found; MOST], horizon: usize) -> Choices {
        let (states, last) = (self.all(), self.len - 1);
        let mut longer = sum(&gaps.weight[horizon..]);
        let expected = sum(&gaps.expected[horizon..]);
        // What is still to be paid, by the state an instance is in.
        let mut ahead = [0_u128; MOST];
        for (index, ahead) in ahead.iter_mut().enumerate() {
            let enter_us = if index == last { 0 } else { states[last].enter_us };
            let miss = found[last].miss + 1_000 * u128::from(enter_us);
            *ahead = longer * miss - expected * found[last].spared;
        }
        let mut choices = [[0_u8; MOST]; BINS];
        for bin in (0..horizon).rev() {
            let (here, expected) = (u128::from(gaps.weight[bin]), u128::from(gaps.expected[bin]));
            let width = u128::from(upper_us(bin) - lower_us(bin));
            // Who is over in this bin is over in the middle of it.
            let time = here * width / 2 + longer * width;
            longer += here;
            let mut stay = [u128::MAX; MOST];
            for (index, state) in states.iter().enumerate() {
                let Found { miss, spared } = found[index];
                stay[index] = u128::from(state.rate) * time + here * miss - expected * spared + ahead[index];
            }
            for index in 0..=last {
                let (cost, state) = self.best_from(index, &stay, longer);
                ahead[index] = cost;
                choices[bin][index] = u8::try_from(state).unwrap_or(NEVER);
            }
        }
        choices
    }

    /// The cheapest state for an instance in state `from`, if being in each costs so much; of equal ones the deepest.
    fn best_from(&self, from: usize, stay: &[u128; MOST], longer: u128) -> (u128, usize) {
        let mut best = (stay[from], from);
        for (deeper, state) in self.all().iter().enumerate().skip(from + 1) {
            let enter = 1_000 * u128::from(state.enter_us) * longer;
            let cost = stay[deeper].saturating_add(enter);
            if cost <= best.0 {
                best = (cost, deeper);
            }
        }
        best
    }
}

fn sum(weights: &[u64]) -> u128 {
    weights.iter().copied().map(u128::from).sum()
}
