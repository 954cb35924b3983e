use crate::policy::slopes::{Slopes, Times};

/// Costs older than this many break-evens count half.
const HORIZON: u64 = 256;
/// Costs that decide nothing yet, in break-evens.
const SLACK: u64 = 8;

/// What the gaps seen would have cost with what was learned, with T*, and with knowledge of the future: every gap is
/// seen, whatever was done, so each of them can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hedge {
    pub(crate) learned_us: u64,
    pub(crate) envelope_us: u64,
    pub(crate) offline_us: u64,
}

impl Hedge {
    pub(crate) fn add(&mut self, slopes: &Slopes, learned: &Times, gap_us: u64, wait_permille: u64) {
        let envelope = slopes.envelope();
        let costs = [
            slopes.cost(learned, gap_us, wait_permille),
            slopes.cost(&envelope, gap_us, wait_permille),
            slopes.offline(gap_us, wait_permille),
        ];
        let horizon = break_even(slopes).saturating_mul(HORIZON);
        for (sum, cost) in self.sums().into_iter().zip(costs) {
            *sum = sum.saturating_add(cost);
        }
        if self.offline_us.max(self.envelope_us).max(self.learned_us) > horizon {
            for sum in self.sums() {
                *sum /= 2;
            }
        }
    }

    /// Whether what was learned costs more than twice the optimum, and more than T* would have.
    pub(crate) fn distrusts(&self, slopes: &Slopes) -> bool {
        let bound = self
            .offline_us
            .saturating_mul(2)
            .saturating_add(break_even(slopes) * SLACK);
        self.learned_us > bound && self.learned_us > self.envelope_us
    }

    fn sums(&mut self) -> [&mut u64; 3] {
        [&mut self.learned_us, &mut self.envelope_us, &mut self.offline_us]
    }
}

fn break_even(slopes: &Slopes) -> u64 {
    slopes
        .below()
        .first()
        .map_or(0, |slope| slope.from_us.min(u64::MAX / HORIZON))
}
