//! Worked out by hand from the published algorithm. With target = capacity · utilisation and ready ≥ 1:
//! desired = ⌈metric / target⌉, kept between ⌊ready / max_down_rate⌋ and ⌈ready · max_up_rate⌉; panic when the panic
//! window's desired / ready ≥ 2, until a stable window later; excess = ⌊ready · capacity − burst − panic metric⌋.

use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

fn secs(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

/// Capacity in thousandths, all of which is aimed at.
fn config(capacity: u64) -> KpaConfig {
    KpaConfig {
        capacity: Milli(capacity),
        utilisation_percent: 100,
        ..KpaConfig::default()
    }
}

fn once(config: &KpaConfig, stable: u64, panic: u64, ready: u32) -> (u32, bool, i64) {
    let input = KpaInput {
        stable: Milli(stable),
        panic: Milli(panic),
        ready,
    };
    let verdict = KpaState::default().tick(config, secs(0), &input);
    (verdict.desired, verdict.is_panicking, verdict.excess_burst)
}

/// Capacity, utilisation %, stable, panic (thousandths), ready → desired, panicking, excess burst.
type Row = (u64, u32, u64, u64, u32, (u32, bool, i64));

const SINGLE_TICKS: [Row; 9] = [
    // 50/10 = 5 of 5 ready; 5·10 − 211 − 50.
    (10_000, 100, 50_000, 50_000, 5, (5, false, -211)),
    // 100/10 = 10, twice what is ready: panic; 50 − 211 − 100.
    (10_000, 100, 100_000, 100_000, 5, (10, true, -261)),
    // ⌈9.9⌉ = 10 in the stable window, 9 in the panic one: no panic; 50 − 211 − 90.
    (10_000, 100, 99_000, 90_000, 5, (10, false, -251)),
    // Nothing going on: half of what is ready; 100 − 211.
    (10_000, 100, 0, 0, 10, (5, false, -111)),
    // ⌊1/2⌋ = 0, but active for no stable window yet: one stays; 10 − 211.
    (10_000, 100, 0, 0, 1, (1, false, -201)),
    // Target 0.7: ⌈1/0.7⌉ = 2, 1.4/0.7 = 2 of 1 ready: panic; ⌊1 − 211 − 1.4⌋.
    (1_000, 70, 1_000, 1_400, 1, (2, true, -212)),
    // Target 70: 140/70 = 2; 70/70 = 1: no panic; 100 − 211 − 70.
    (100_000, 70, 140_000, 70_000, 1, (2, false, -181)),
    // None ready counts as one: ⌈3/1⌉ = 3, panic; 0 − 211 − 3.
    (1_000, 100, 3_000, 3_000, 0, (3, true, -214)),
    // The stable window may ask for more than the panic one in panic: ⌈30/10⌉ = 3 against 2; 10 − 211 − 20.
    (10_000, 100, 30_000, 20_000, 1, (3, true, -221)),
];

#[test]
fn one_tick_gives_what_the_published_algorithm_gives() {
    for (capacity, utilisation_percent, stable, panic, ready, expected) in SINGLE_TICKS {
        let config = KpaConfig {
            utilisation_percent,
            ..config(capacity)
        };
        assert_eq!(
            once(&config, stable, panic, ready),
            expected,
            "{stable} {panic} {ready}"
        );
    }
}

#[test]
fn a_tick_goes_no_further_than_its_rates_allow() {
    let tenfold = KpaConfig {
        max_up_rate: Milli::from_units(10),
        ..config(1_000)
    };
    assert_eq!(once(&tenfold, 10_000_000, 10_000_000, 2).0, 20, "10 · 2");
    let slow = KpaConfig {
        max_up_rate: Milli(1_100),
        ..config(1_000)
    };
    assert_eq!(
        once(&slow, 3_000, 3_000, 2).0,
        3,
        "⌈1.1 · 2⌉, so that it never gets stuck"
    );
    let thirds = KpaConfig {
        max_down_rate: Milli::from_units(3),
        ..config(1_000)
    };
    assert_eq!(once(&thirds, 1_000, 1_000, 10).0, 3, "⌊10 / 3⌋");
}

#[test]
fn an_activation_scale_is_the_least_count_above_zero() {
    let config = KpaConfig {
        activation_instances: 5,
        ..config(1_000)
    };
    assert_eq!(once(&config, 1_000, 1_000, 1).0, 5);
    assert_eq!(
        once(&config, 0, 0, 1).0,
        1,
        "nothing is going on, so it does not apply"
    );
}

#[test]
fn the_excess_burst_is_the_room_beyond_the_target_burst() {
    let with = |target_burst| KpaConfig {
        target_burst,
        ..config(10_000)
    };
    assert_eq!(once(&with(TargetBurst::None), 5_000, 5_000, 3).2, 0);
    assert_eq!(once(&with(TargetBurst::Unlimited), 5_000, 5_000, 3).2, -1);
    assert_eq!(
        once(&with(TargetBurst::Requests(10)), 5_000, 5_000, 3).2,
        15,
        "30 − 10 − 5"
    );
}

/// Runs ticks of (second, stable, panic, ready) in whole requests.
fn run(mut state: KpaState, config: &KpaConfig, ticks: &[(u64, u64, u64, u32)]) -> Vec<(u32, bool)> {
    let tick = |&(at, stable, panic, ready): &(u64, u64, u64, u32)| {
        let (stable, panic) = (Milli::from_units(stable), Milli::from_units(panic));
        let verdict = state.tick(config, secs(at), &KpaInput { stable, panic, ready });
        (verdict.desired, verdict.is_panicking)
    };
    ticks.iter().map(tick).collect()
}

#[test]
fn a_panic_only_raises_and_ends_after_a_whole_stable_window() {
    let ticks = [
        (0, 2, 2, 2),  // as many as there are
        (2, 3, 4, 2),  // 4 of 2: panic
        (4, 3, 6, 4),  // 6 of 4 is below twice, but the panic goes on and rises
        (6, 2, 1, 6),  // nothing falls in panic
        (62, 1, 1, 6), // 60 s after it was last called for: not yet over
        (64, 1, 1, 6), // over: half of 6
        (66, 1, 1, 3), // ⌊3/2⌋ = 1
    ];
    let expected = [
        (2, false),
        (4, true),
        (6, true),
        (6, true),
        (6, true),
        (3, false),
        (1, false),
    ];
    assert_eq!(run(KpaState::default(), &config(1_000), &ticks), expected);
}

#[test]
fn a_second_panic_begins_from_what_it_finds() {
    let ticks = [(0, 20, 20, 2), (62, 1, 1, 2), (64, 1, 3, 1)];
    let expected = [(20, true), (1, false), (3, true)];
    assert_eq!(run(KpaState::default(), &config(1_000), &ticks), expected);
}

#[test]
fn a_panic_that_is_called_for_again_lasts_longer() {
    let ticks = [
        (0, 2, 2, 1),
        (40, 4, 4, 2),
        (62, 1, 1, 4),
        (100, 1, 1, 4),
        (102, 1, 1, 4),
    ];
    let expected = [(2, true), (4, true), (4, true), (4, true), (2, false)];
    assert_eq!(run(KpaState::default(), &config(1_000), &ticks), expected);
}

#[test]
fn a_restart_with_several_instances_begins_in_panic_at_their_count() {
    let ticks = [(2, 1, 1, 10), (60, 1, 1, 10), (62, 1, 1, 10)];
    let ten = KpaState::begin(secs(0), 10);
    assert_eq!(
        run(ten, &config(1_000), &ticks),
        [(10, true), (10, true), (5, false)]
    );
    let one = KpaState::begin(secs(0), 1);
    assert_eq!(run(one, &config(1_000), &[(2, 1, 1, 1)]), [(1, false)]);
}

#[test]
fn a_lower_count_waits_for_the_delay() {
    let config = KpaConfig {
        scale_down_delay: Duration::from_secs(6),
        ..config(1_000)
    };
    let ticks = [
        (0, 5, 5, 5),
        (2, 3, 3, 5),
        (4, 3, 3, 5),
        (6, 3, 3, 5),
        (8, 4, 4, 3),
        (10, 2, 2, 4),
    ];
    let counts: Vec<_> = run(KpaState::default(), &config, &ticks)
        .iter()
        .map(|(count, _)| *count)
        .collect();
    assert_eq!(counts, [5, 5, 5, 3, 4, 4]);
}

/// The first of these seconds at which the last instance may go.
fn zero_at(config: &KpaConfig, busy_until: u64) -> Option<u64> {
    let ticks: Vec<_> = (0..100)
        .map(|tick| (tick * 2, u64::from(tick * 2 <= busy_until), 0, 1))
        .collect();
    let counts = run(KpaState::default(), config, &ticks);
    ticks
        .iter()
        .zip(counts)
        .find(|(_, (count, _))| *count == 0)
        .map(|(tick, _)| tick.0)
}

#[test]
fn the_last_instance_goes_after_a_stable_window_and_the_grace() {
    let roomy = KpaConfig {
        target_burst: TargetBurst::None,
        ..config(10_000)
    };
    assert_eq!(
        zero_at(&roomy, 0),
        Some(90),
        "active for 60 s, then 30 s of grace"
    );
    assert_eq!(
        zero_at(&roomy, 100),
        Some(132),
        "active long enough: only the grace from 102 s"
    );
    assert_eq!(
        zero_at(&config(10_000), 0),
        Some(60),
        "buffered all the time: no more grace"
    );
    let retained = KpaConfig {
        last_retention: Duration::from_secs(40),
        ..roomy
    };
    assert_eq!(zero_at(&retained, 0), Some(100));
}

#[test]
fn a_request_in_the_grace_time_makes_it_active_anew() {
    let config = KpaConfig {
        target_burst: TargetBurst::None,
        ..config(10_000)
    };
    let mut ticks = Vec::from([(0, 1, 1, 1), (60, 0, 0, 1), (80, 1, 1, 1), (82, 0, 0, 1)]);
    ticks.extend([(138, 0, 0, 1), (140, 0, 0, 1), (168, 0, 0, 1), (170, 0, 0, 1)]);
    let counts: Vec<_> = run(KpaState::default(), &config, &ticks)
        .iter()
        .map(|(count, _)| *count)
        .collect();
    assert_eq!(counts, [1, 1, 1, 1, 1, 1, 1, 0], "80 s + 60 s + 30 s");
}

proptest! {
    #[test]
    fn the_integers_are_those_of_the_formula(stable in 0..10_000_000_u64, panic in 0..10_000_000_u64, ready in 0..500_u32, capacity in 1..200_000_u64, utilisation_percent in 1..=100_u32) {
        let config = KpaConfig { utilisation_percent, ..config(capacity) };
        let (desired, is_panicking, excess) = once(&config, stable, panic, ready);
        let target = (capacity * u64::from(utilisation_percent) / 100).max(1);
        let at_least_one = u64::from(ready.max(1));
        let clamp = |count: u64| count.max(at_least_one / 2).min(at_least_one * 1_000);
        let wanted = if panic.div_ceil(target) >= 2 * at_least_one {
            prop_assert!(is_panicking);
            clamp(stable.div_ceil(target)).max(clamp(panic.div_ceil(target)))
        } else {
            prop_assert!(!is_panicking);
            clamp(stable.div_ceil(target))
        };
        prop_assert_eq!(u64::from(desired), wanted.max(1));
        let exact = i128::from(ready) * i128::from(capacity) - 211_000 - i128::from(panic);
        prop_assert!(i128::from(excess) * 1_000 <= exact && exact < (i128::from(excess) + 1) * 1_000);
    }

    #[test]
    fn no_tick_of_a_panic_lowers_the_count(ticks in prop::collection::vec((0..200_u64, 0..200_u64, 0..50_u32), 1..80)) {
        let (config, mut state) = (config(1_000), KpaState::default());
        let mut before: Option<KpaVerdict> = None;
        for (index, (stable, panic, ready)) in ticks.into_iter().enumerate() {
            let input = KpaInput { stable: Milli::from_units(stable), panic: Milli::from_units(panic), ready };
            let verdict = state.tick(&config, secs(index as u64 * 2), &input);
            if let Some(before) = before.filter(|before| before.is_panicking && verdict.is_panicking) {
                prop_assert!(verdict.desired >= before.desired);
            }
            before = Some(verdict);
        }
    }
}
