use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use scheduler::{LearnedSki, Policy, Rung, ServiceConfig, SkiRental};

use crate::caller::{Caller, four_rungs, ms, one_rung};

/// λ of the learned policy is 1/128.
const ROBUST: u128 = 129;

fn config() -> impl Strategy<Value = ServiceConfig> {
    let wake = prop_oneof![Just(1_u64), Just(5), Just(50), Just(500)];
    let beta = prop_oneof![Just(0_u32), Just(20), Just(200), Just(2_000)];
    (wake, beta, any::<bool>()).prop_map(|(wake, beta, many)| match many {
        true => four_rungs(beta),
        false => one_rung(ms(wake), beta),
    })
}

/// Gaps of every size, and runs of the same one.
fn gaps() -> impl Strategy<Value = Vec<Duration>> {
    let gap = (0..38_u32, 0..1_000_u64).prop_map(|(octave, part)| {
        let micros = 1_u64 << octave;
        Duration::from_micros(micros + micros * part / 1_000)
    });
    vec((gap, 1..12_usize), 1..40).prop_map(|runs| {
        let runs = runs.into_iter();
        runs.flat_map(|(gap, times)| std::iter::repeat_n(gap, times))
            .collect()
    })
}

/// What the gaps cost, and what they had to.
fn play<P: Policy>(caller: &mut Caller<P>, gaps: &[Duration]) -> (u128, u128) {
    let (mut cost, mut offline) = (0, 0);
    for gap in gaps {
        let bill = caller.call(*gap, ms(1));
        cost += bill.cost;
        offline += bill.offline;
    }
    (cost, offline)
}

proptest! {
    #[test]
    fn ski_rental_costs_at_most_twice_what_knowing_the_future_does(config in config(), gaps in gaps()) {
        let mut caller = Caller::new(SkiRental, config);
        for gap in gaps {
            let bill = caller.call(gap, ms(1));
            prop_assert!(bill.cost <= 2 * bill.offline + 8, "{gap:?}: {bill:?}");
        }
    }

    #[test]
    fn what_is_learned_costs_at_most_1_plus_1_by_lambda(config in config(), gaps in gaps()) {
        let mut caller = Caller::new(LearnedSki::new(), config.clone());
        // Waking ahead may cost a few break-evens more, once.
        let budget = 8 * config.ladder.ram.map_or(0, |ram| ram.wake.as_micros())
            * u128::from(1 + config.ladder.dial.beta());
        let (cost, offline) = play(&mut caller, &gaps);
        prop_assert!(cost <= ROBUST * offline + budget + 8 * gaps.len() as u128, "{cost} {offline}");
    }

    #[test]
    fn a_plan_goes_down_in_order_and_stays_within_its_clamp(config in config(), gaps in gaps()) {
        let mut bound = Caller::new(SkiRental, config.clone());
        bound.call(ms(1), ms(1));
        let mut caller = Caller::new(LearnedSki::new(), config);
        for gap in gaps {
            caller.call(gap, ms(1));
            let times = Rung::ALL.map(|rung| (caller.plan.after(rung), bound.plan.after(rung)));
            let mut above = Duration::ZERO;
            for (after, most) in times.into_iter().filter_map(|(after, most)| Some((after?, most?))) {
                prop_assert!(above <= after && after <= most && after >= most / 128 - Duration::from_micros(1));
                above = after;
            }
        }
    }
}

/// Teaches one gap and then plays another that is the worst for what was learned.
#[test]
fn what_was_learned_from_poison_is_not_followed_for_long() {
    let config = one_rung(ms(5), 20);
    let mut caller = Caller::new(LearnedSki::new(), config);
    for _ in 0..3_000 {
        caller.call(Duration::from_secs(3_600), ms(1));
    }
    let least = caller.plan.after(Rung::ALL[1]).expect("it parks");
    assert!(least < ms(2), "{least:?}: after long gaps only it parks at once");
    // What is past is no excuse beyond the last hundred break-evens.
    let (mut cost, mut offline) = (0, 128 * 105_000);
    for _ in 0..2_000 {
        // Just longer than it is kept.
        let gap = caller.plan.after(Rung::ALL[1]).expect("it parks") + Duration::from_micros(100);
        let bill = caller.call(gap.min(ms(100)), ms(1));
        cost += bill.cost;
        offline += bill.offline;
    }
    let settled = cost * 10 / offline;
    assert!(settled <= 21, "{settled} tenths of the optimum");
}

#[test]
fn an_adversary_that_comes_just_after_each_park_pays_no_more_than_the_bound() {
    for (config, bound) in [(one_rung(ms(5), 20), 22), (one_rung(ms(50), 200), 22)] {
        let mut caller = Caller::new(LearnedSki::new(), config);
        let (mut cost, mut offline) = (0, 0);
        caller.call(ms(1), ms(1));
        for _ in 0..5_000 {
            let gap = caller.plan.after(Rung::ALL[1]).expect("it parks") + Duration::from_micros(1);
            let bill = caller.call(gap, ms(1));
            cost += bill.cost;
            offline += bill.offline;
        }
        let ratio = cost * 10 / offline;
        assert!(ratio <= bound, "{ratio} tenths of the optimum");
    }
}
