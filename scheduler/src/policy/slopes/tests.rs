use proptest::prelude::*;

use super::*;
use crate::ladder::{Dial, LadderConfig, RungCost};
use crate::policy::gaps::{lower_us, upper_us};
use crate::policy::weights::Weights;

fn slopes(ladder: LadderConfig) -> Slopes {
    let config = ServiceConfig {
        ladder,
        ..ServiceConfig::default()
    };
    Slopes::of(&config, None)
}

fn every_rung(beta: u32, enter: Duration) -> Slopes {
    let rung = |cost: RungCost| Some(RungCost { enter, ..cost });
    slopes(LadderConfig {
        dial: Dial::Beta(beta),
        paused: rung(RungCost::PAUSED),
        ram: rung(RungCost::RAM),
        disk: rung(RungCost::DISK),
        stop: rung(RungCost::STOP),
        ..LadderConfig::default()
    })
}

#[test]
fn one_rung_breaks_even_after_c_times_1_plus_beta() {
    let slopes = slopes(LadderConfig {
        dial: Dial::Beta(20),
        ram: Some(RungCost::new(0, Duration::from_millis(5))),
        ..LadderConfig::default()
    });
    assert_eq!(slopes.envelope()[1], 105_000);
}

#[test]
fn a_rung_that_never_pays_is_left_out() {
    let slopes = slopes(LadderConfig {
        paused: Some(RungCost::new(900, Duration::from_millis(5))),
        ram: Some(RungCost::new(50, Duration::from_millis(5))),
        ..LadderConfig::default()
    });
    let rungs: alloc::vec::Vec<_> = slopes
        .below()
        .iter()
        .map(|slope| slope.rung.map(Rung::index))
        .collect();
    assert_eq!(rungs, [Some(1)]);
}

proptest! {
    #[test]
    fn the_envelope_costs_at_most_twice_the_optimum(
        beta in 0..3_000_u32,
        enter in 0..20_000_u64,
        gap in (0..40_u32, 0..1_000_u64),
    ) {
        let slopes = every_rung(beta, Duration::from_micros(enter));
        let gap = (1_u64 << gap.0) + (1_u64 << gap.0) * gap.1 / 1_000;
        let cost = slopes.cost(&slopes.envelope(), gap, 1_000);
        prop_assert!(cost <= 2 * slopes.offline(gap, 1_000) + 8, "{cost} {}", slopes.offline(gap, 1_000));
    }

    /// Every pair of bins for two rungs, against the dynamic programme.
    #[test]
    fn no_other_times_are_cheaper(weights in prop::collection::vec((0..44_usize, 1..50_u64), 1..8)) {
        let slopes = slopes(LadderConfig {
            dial: Dial::Beta(20),
            ram: Some(RungCost::new(100, Duration::from_millis(5))),
            disk: Some(RungCost { enter: Duration::from_millis(3), ..RungCost::new(0, Duration::from_millis(20)) }),
            ..LadderConfig::default()
        });
        let mut gaps = Weights { weight: [0; BINS], expected: [0; BINS], expected_cost_us: 0 };
        for (bin, weight) in weights {
            gaps.weight[bin] += weight;
        }
        let cost = |bins: [usize; 2]| -> u128 {
            let times = [0, lower_us(bins[0]), lower_us(bins[1]), 0, 0];
            let each = gaps.weight.iter().enumerate().filter(|(_, weight)| **weight > 0);
            each.map(|(bin, weight)| {
                // Who is in a bin when it begins pays half of it.
                let gap = (lower_us(bin) + upper_us(bin)) / 2;
                u128::from(*weight) * u128::from(slopes.cost(&times, gap, 1_000))
            }).sum()
        };
        let horizon = bin_of(slopes.envelope()[2]) + 1;
        let chosen = slopes.cheapest(&gaps, 1_000);
        let chosen = [chosen[1], chosen[2]].map(|bin| usize::from(bin).min(horizon));
        let least = (0..=horizon).flat_map(|a| (a..=horizon).map(move |b| [a, b])).map(cost).min();
        let (found, least) = (cost(chosen), least.unwrap_or(0));
        prop_assert!(found <= least + least / 100 + 100, "{chosen:?}: {found} {least}");
    }
}

#[test]
fn the_fingerprint_tells_another_time_to_park() {
    let [quick, slow] = [1, 50].map(|millis| every_rung(20, Duration::from_millis(millis)));
    assert_ne!(quick.fingerprint(), slow.fingerprint());
}
