use std::time::Duration;

use scheduler::{LearnedSki, Policy};

use crate::caller::{Caller, ms, one_rung};

/// Up to 40 ms, the same each time.
fn jitter(step: u64) -> Duration {
    ms((step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 41)
}

/// Calls at multiples of `period` plus jitter, those that `skips` names left out; how many of the last half were
/// delayed, and how often an instance was woken in vain.
fn clockwork(period: Duration, calls: u64, skips: impl Fn(u64) -> bool) -> (u64, u32) {
    let mut caller = Caller::new(LearnedSki::new(), one_rung(ms(5), 20));
    let (mut delayed, mut in_vain, busy) = (0, 0, ms(3));
    let mut free_at = ms(0);
    for tick in (0..calls).filter(|tick| !skips(*tick)) {
        let at = period * u32::try_from(tick + 1).expect("few") + jitter(tick);
        let bill = caller.call(at.saturating_sub(free_at), busy);
        free_at = at + busy;
        delayed += u64::from(tick >= calls / 2 && bill.delayed);
        in_vain += bill.woken_in_vain;
    }
    (delayed, in_vain)
}

/// The next of some random numbers.
fn draw(random: &mut u64) -> u64 {
    *random = random
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *random >> 33
}

#[test]
fn a_caller_by_the_clock_is_not_delayed() {
    for period in [
        ms(1_000),
        ms(20_000),
        Duration::from_secs(60),
        Duration::from_secs(3_600),
    ] {
        let (delayed, in_vain) = clockwork(period, 100, |_| false);
        assert!(delayed <= 4, "{delayed} of 50 delayed at {period:?}");
        assert!(in_vain <= 15, "{in_vain} times in vain at {period:?}");
    }
}

#[test]
fn an_interval_that_came_twice_is_enough() {
    let mut caller = Caller::new(LearnedSki::new(), one_rung(ms(5), 20));
    let minute = Duration::from_secs(60);
    let delayed: Vec<_> = (0..6).map(|_| caller.call(minute, ms(0)).delayed).collect();
    assert_eq!(delayed[1..], [true, true, false, false, false]);
}

#[test]
fn missed_ticks_cost_one_delay_each() {
    let (delayed, in_vain) = clockwork(Duration::from_secs(60), 200, |tick| tick % 10 == 9);
    assert!(delayed <= 15, "{delayed} of 90 delayed");
    assert!(in_vain <= 40, "{in_vain} times in vain for 20 missed ticks");
}

#[test]
fn a_period_that_changes_is_found_again() {
    let mut caller = Caller::new(LearnedSki::new(), one_rung(ms(5), 20));
    let mut delayed = [0; 2];
    for (half, period) in [60, 45].into_iter().enumerate() {
        for call in 0..100 {
            let bill = caller.call(Duration::from_secs(period), ms(0));
            delayed[half] += u32::from(call >= 50 && bill.delayed);
        }
    }
    assert_eq!(delayed, [0, 0]);
}

#[test]
fn who_calls_at_random_has_nobody_woken_for_long() {
    let mut caller = Caller::new(LearnedSki::new(), one_rung(ms(5), 20));
    let mut random = 12_345;
    let calls = (0..2_000).map(|_| caller.call(ms(1_000 + draw(&mut random) % 100_000), ms(1)));
    let in_vain: u32 = calls.map(|bill| bill.woken_in_vain).sum();
    assert!(in_vain <= 20, "{in_vain} times in vain");
}

#[test]
fn who_calls_a_few_times_at_random_has_hardly_anybody_woken() {
    for (wake, beta, most) in [(5, 20, 10), (500, 20, 30), (500, 200, 200)] {
        let (mut random, mut in_vain) = (12_345, 0);
        for _ in 0..300 {
            let mut times = [(); 10].map(|()| draw(&mut random) % 3_600_000);
            times.sort_unstable();
            let mut caller = Caller::new(LearnedSki::new(), one_rung(ms(wake), beta));
            let mut last = 0;
            for at in times {
                in_vain += caller.call(ms(at - last), ms(0)).woken_in_vain;
                last = at;
            }
        }
        assert!(
            in_vain <= most,
            "{in_vain} times in vain for 3,000 calls, {wake} ms, {beta}"
        );
    }
}

#[test]
fn a_caller_by_the_clock_who_stops_is_given_up() {
    let mut caller = Caller::new(LearnedSki::new(), one_rung(ms(5), 20));
    for _ in 0..50 {
        caller.call(Duration::from_secs(60), ms(0));
    }
    assert!(caller.plan.prewake().is_some());
    let bill = caller.call(Duration::from_secs(86_400), ms(0));
    assert!(bill.woken_in_vain <= 2, "{bill:?}");
}

#[test]
fn after_calls_that_did_not_come_nobody_is_woken_until_they_come_again() {
    let mut caller = Caller::new(LearnedSki::new(), one_rung(ms(5), 20));
    let minute = Duration::from_secs(60);
    for _ in 0..10 {
        caller.call(minute, ms(0));
    }
    // Never the same time.
    let in_vain: Vec<_> = (0..12)
        .map(|call| caller.call(minute + ms(7_919 * (call + 1)), ms(0)).woken_in_vain)
        .collect();
    assert!(in_vain[0] > 0);
    assert_eq!(in_vain[4..], [0; 8], "{in_vain:?}");
    let delayed: Vec<_> = (0..12).map(|_| caller.call(minute, ms(0)).delayed).collect();
    assert!(
        delayed[..2].contains(&true),
        "it is not trusted at once: {delayed:?}"
    );
    assert_eq!(delayed[6..], [false; 6]);
}

#[test]
fn after_nobody_looked_the_interval_is_known_and_counts_from_the_next_call() {
    let mut caller = Caller::new(LearnedSki::new(), one_rung(ms(5), 20));
    let minute = Duration::from_secs(60);
    for _ in 0..10 {
        caller.call(minute, ms(0));
    }
    caller.policy.interrupted();
    let delayed: Vec<_> = [ms(25_317), minute, minute]
        .map(|gap| caller.call(gap, ms(0)).delayed)
        .into();
    assert_eq!(delayed[1..], [false, false], "{delayed:?}");
}

#[test]
fn calls_that_stop_cost_no_more_than_the_budget_however_many_came() {
    let mut caller = Caller::new(LearnedSki::new(), one_rung(ms(5), 20));
    let minute = Duration::from_secs(60);
    // Ever earlier and ever later, so that the windows are wide.
    let mut early = ms(0);
    for call in 0..60_u64 {
        let stray = ms((2 * call).min(46));
        let gap = if call % 2 == 0 {
            minute + early + stray
        } else {
            minute - early - stray
        };
        caller.call(gap, ms(0));
        early = stray;
    }
    let in_vain: u32 = (0..6)
        .map(|call| caller.call(minute + ms(7_919 * (call + 1)), ms(0)).woken_in_vain)
        .sum();
    assert!((1..=4).contains(&in_vain), "{in_vain} times in vain");
}
