//! The owner stood still, or was started anew: what spans that is no measurement.

use scheduler::{
    Basis, KpaConfig, LadderConfig, LearnedSki, Milli, Policy, RungCost, ScaleConfig, ScaleMode,
    ServiceConfig,
};

use crate::desk::{Desk, NOTHING, SERVICE, config, ms};

/// Wakes in 5 ms, so that T* is 1.005 s.
fn learns() -> ServiceConfig {
    ServiceConfig {
        cooldown: None,
        ladder: LadderConfig {
            ram: Some(RungCost::new(0, ms(5))),
            ..LadderConfig::default()
        },
        ..config()
    }
}

/// Instance 1 runs, and was called four times in 40 ms.
fn called() -> Desk<LearnedSki> {
    let mut desk = Desk::awake_with(learns(), LearnedSki::new());
    for call in 1..=4 {
        desk.at(10 * call).queued(call);
        desk.done(call);
    }
    assert_eq!(samples(&desk), Some(4));
    desk
}

fn basis(desk: &Desk<LearnedSki>) -> Basis {
    let why = desk.scheduler.why(SERVICE).expect("it is configured");
    why.instances[0].basis.expect("it is idle")
}

fn samples(desk: &Desk<LearnedSki>) -> Option<u32> {
    match basis(desk) {
        Basis::Learned { samples, .. } => Some(samples),
        _ => None,
    }
}

#[test]
fn a_gap_in_which_the_owner_stood_still_is_not_learned() {
    for tick_first in [true, false] {
        let mut desk = called();
        desk.at(60_000);
        let is_parked = tick_first && !desk.tick().is_empty();
        desk.queued(9);
        if is_parked {
            desk.parked(1, 2);
            desk.ready(1, 3);
        }
        desk.tick();
        desk.at(60_003).done(9);
        assert_eq!(samples(&desk), Some(4), "{tick_first}");
        desk.at(60_010).queued(10);
        desk.done(10);
        assert_eq!(samples(&desk), Some(5), "the next gap is one");
        assert_eq!(desk.scheduler.clock_faults().stalls, 1);
    }
}

#[test]
fn a_gap_in_which_nothing_was_due_is_learned_however_long() {
    let mut desk = called();
    let due = desk.deadline_ms().expect("it falls asleep");
    desk.at(due + 1).tick();
    desk.parked(1, 2);
    desk.at(60_000).queued(9);
    desk.ready(1, 3);
    desk.done(9);
    assert_eq!(samples(&desk), Some(5));
}

#[test]
fn a_gap_across_a_restart_is_not_learned_and_what_was_before_is_kept() {
    let mut saved = Vec::new();
    called().scheduler.policy().save(&mut saved);
    let mut policy = LearnedSki::new();
    policy.restore(&saved).expect("it was saved just now");
    // The new clock is as far as the old one was, and 110 ms farther.
    let mut desk = Desk::with(learns(), policy);
    desk.at(150).queued(1);
    desk.ready(1, 1);
    desk.done(1);
    assert_eq!(samples(&desk), Some(4));
    desk.at(160).queued(2);
    desk.done(2);
    assert_eq!(samples(&desk), Some(5));
}

#[test]
fn a_start_in_which_the_owner_stood_still_is_not_what_a_start_takes() {
    let mut desk = called();
    let due = desk.deadline_ms().expect("it falls asleep");
    desk.at(due + 1).tick();
    desk.parked(1, 2);
    desk.at(3_000).queued(9);
    desk.at(60_000).tick();
    desk.ready(1, 3);
    desk.done(9);
    let Basis::Learned { break_even, .. } = basis(&desk) else {
        panic!("it learns");
    };
    assert_eq!(break_even.wake_us, 5_000);
}

#[test]
fn windows_forget_what_was_before_the_owner_stood_still() {
    let kpa = KpaConfig {
        capacity: Milli::from_units(1),
        ..KpaConfig::default()
    };
    let scaled = ServiceConfig {
        max_instances: 10,
        scale: ScaleConfig {
            mode: ScaleMode::Kpa(kpa),
            ..ScaleConfig::default()
        },
        ..config()
    };
    let mut desk = Desk::new(scaled);
    for request in 1..=4 {
        desk.queued(request);
    }
    desk.ready(1, 1);
    // The tick of second 2 comes in second 12.
    desk.at(12_000);
    assert_eq!(desk.tick(), NOTHING, "ten seconds are not two");
    assert_eq!(desk.at(14_000).tick().len(), 5, "⌈4 / 0.7⌉");
}

#[test]
fn a_window_that_the_clock_jumped_over_begins_anew() {
    let kpa = KpaConfig {
        capacity: Milli::from_units(10),
        ..KpaConfig::default()
    };
    let mut desk = Desk::new(ServiceConfig {
        scale: ScaleConfig {
            mode: ScaleMode::Kpa(kpa),
            ..ScaleConfig::default()
        },
        ..config()
    });
    for request in 1..=4 {
        desk.queued(request);
    }
    desk.ready(1, 1);
    for second in [2, 4, 6] {
        desk.at(second * 1_000).tick();
    }
    for request in 1..=3 {
        desk.done(request);
    }
    for second in [30, 32] {
        desk.at(second * 1_000).tick();
    }
    let why = desk.scheduler.why(SERVICE).expect("it is configured").to_string();
    assert!(
        why.contains("wanted: 1 stable, 1 panic"),
        "not four for six seconds: {why}"
    );
}
