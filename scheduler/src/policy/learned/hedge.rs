use crate::policy::slopes::{Slopes, Times};

/// Costs older than this many break-evens count half.
const HORIZON: u64 = 128;
/// Costs that decide nothing yet, in break-evens.
const SLACK: u64 = 2;

/// What the gaps seen cost, what they would have cost with T*, and with knowledge of the future. Every gap is seen,
/// whatever was done, so each of them can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hedge {
    pub(crate) realised_us: u64,
    pub(crate) envelope_us: u64,
    pub(crate) offline_us: u64,
}

impl Hedge {
    /// A gap for which this was `learned`; `woken_us` is what it cost to be awake for who came, if that was done.
    pub(crate) fn add(
        &mut self,
        slopes: &Slopes,
        learned: &Times,
        gap_us: u64,
        wait_permille: u64,
        woken_us: Option<u64>,
    ) {
        let envelope = slopes.cost(&slopes.envelope(), gap_us, wait_permille);
        let done = if self.distrusts(slopes) {
            &slopes.envelope()
        } else {
            learned
        };
        let realised = match woken_us {
            Some(woken_us) => slopes.rent(done, gap_us).0.saturating_add(woken_us),
            None => slopes.cost(done, gap_us, wait_permille),
        };
        let costs = [realised, envelope, slopes.offline(gap_us, wait_permille)];
        for (sum, cost) in self.sums().into_iter().zip(costs) {
            *sum = sum.saturating_add(cost);
        }
        if self.realised_us.max(self.envelope_us) > break_even(slopes).saturating_mul(HORIZON) {
            for sum in self.sums() {
                *sum /= 2;
            }
        }
    }

    /// Whether what was done cost more than twice the optimum, and more than T* would have. Then T* is what is done
    /// until older costs count little: who knows what is learned and comes at the worst time gains no more than that.
    pub(crate) fn distrusts(&self, slopes: &Slopes) -> bool {
        let slack = break_even(slopes) * SLACK;
        self.realised_us > self.offline_us.saturating_mul(2).saturating_add(slack)
            && self.realised_us > self.envelope_us.saturating_add(slack)
    }

    fn sums(&mut self) -> [&mut u64; 3] {
        [&mut self.realised_us, &mut self.envelope_us, &mut self.offline_us]
    }
}

fn break_even(slopes: &Slopes) -> u64 {
    slopes
        .below()
        .first()
        .map_or(0, |slope| slope.from_us.min(u64::MAX / HORIZON))
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::config::ServiceConfig;
    use crate::ladder::{Dial, LadderConfig, RungCost};

    /// T* is 105 ms.
    fn slopes() -> Slopes {
        let ladder = LadderConfig {
            dial: Dial::Beta(20),
            ram: Some(RungCost::new(0, Duration::from_millis(5))),
            ..LadderConfig::default()
        };
        let config = ServiceConfig {
            ladder,
            ..ServiceConfig::default()
        };
        Slopes::of(&config, None)
    }

    fn dear(envelope_us: u64) -> Hedge {
        Hedge {
            realised_us: 5_000_000,
            envelope_us,
            offline_us: 1_000_000,
        }
    }

    #[test]
    fn what_is_learned_is_trusted_while_the_break_even_would_have_cost_as_much() {
        assert!(dear(4_000_000).distrusts(&slopes()));
        assert!(!dear(4_900_000).distrusts(&slopes()));
    }

    #[test]
    fn what_is_not_trusted_is_not_charged_for_what_was_not_done() {
        let (mut hedge, slopes) = (dear(4_000_000), slopes());
        let at_once = [0; crate::policy::slopes::MOST];
        // T* keeps for 20 ms and nobody waits; to park at once costs a miss.
        hedge.add(&slopes, &at_once, 20_000, 1_000, None);
        assert_eq!(hedge.realised_us, 5_020_000);
        let mut trusted = dear(4_900_000);
        trusted.add(&slopes, &at_once, 20_000, 1_000, None);
        assert_eq!(trusted.realised_us, 5_105_000);
    }
}
