//! Modes that compute a count: what it raises, what it lowers, and what it leaves alone.

use scheduler::{
    Basis, CountRole, Idle, KpaConfig, Metric, Milli, ParkLevel, Phase, Plan, Policy, Prewake, Rhythm, Rung,
    ScaleConfig, ScaleMode, ServiceConfig, Staffing, StepPolicy, TargetTracking,
};

use crate::desk::{Desk, NOTHING, config, inventory, ms, report};

/// Up to eight instances of one slot.
fn scaled(scale: ScaleConfig) -> ServiceConfig {
    ServiceConfig {
        max_instances: 8,
        concurrency: 1,
        scale,
        ..config()
    }
}

fn steps(metric: &str, steps: &[&str]) -> ScaleConfig {
    let steps = StepPolicy::parse(metric, "change", steps.iter().copied()).expect("of the right form");
    ScaleConfig {
        mode: ScaleMode::Steps(steps),
        ..ScaleConfig::default()
    }
}

/// Instances 1 to `count` run since 0 ms, each with the request of its number.
fn busy(config: ServiceConfig, count: u64) -> Desk {
    let mut desk = Desk::new(config);
    for id in 1..=count {
        desk.queued(id);
        desk.ready(id, 1);
    }
    desk
}

/// A tick a second until `seconds`; what came out of all.
fn tick_until(desk: &mut Desk, seconds: std::ops::RangeInclusive<u64>) -> Vec<String> {
    seconds
        .flat_map(|second| desk.at(second * 1_000).tick())
        .collect()
}

#[test]
fn a_step_of_vcpu_use_adds_an_instance_and_another_takes_it_away() {
    let mut desk = busy(scaled(steps("cpu", &[":300/-1", "300:700/0", "700:/1"])), 1);
    desk.at(900).usage(1, 800);
    assert_eq!(desk.at(1_000).tick(), ["start 2.1 boot"]);
    assert_eq!(desk.reasons(), ["1 awake, 2 wanted: 800 mvCPU on each of 1"]);
    desk.at(1_001).ready(2, 1);
    assert_eq!(
        desk.at(1_500).tick(),
        NOTHING,
        "two are to be awake, so the idle one stays"
    );
    desk.usage(1, 400);
    desk.usage(2, 500);
    assert_eq!(desk.at(2_000).tick(), NOTHING, "450 on average: nothing to do");
    desk.usage(1, 200);
    desk.usage(2, 0);
    assert_eq!(desk.at(3_000).tick(), ["park 2.2"]);
}

#[test]
fn instances_on_their_way_count_so_that_a_high_value_adds_them_once() {
    let scale = ScaleConfig {
        warm_up: ms(2_000),
        ..steps("cpu", &["700:/1"])
    };
    let mut desk = busy(scaled(scale), 1);
    let mut tick = |second: u64| {
        desk.at(second * 1_000 - 1).usage(1, 900);
        if second == 4 {
            desk.ready(2, 1);
        }
        desk.usage(2, 900);
        desk.at(second * 1_000).tick()
    };
    assert_eq!(tick(1), NOTHING, "it warms up itself");
    assert_eq!(tick(2), ["start 2.1 boot"]);
    assert_eq!(tick(3), NOTHING, "one and the one that starts");
    assert_eq!(tick(4), NOTHING, "it serves, but is not counted");
    assert_eq!(tick(5), NOTHING);
    assert_eq!(tick(6), ["start 3.1 boot"], "now two are counted, both at 900");
}

#[test]
fn an_instance_that_warms_up_serves() {
    let scale = ScaleConfig {
        warm_up: ms(60_000),
        ..steps("in-flight", &["1:/1"])
    };
    let mut desk = Desk::new(scaled(scale));
    desk.queued(1);
    assert_eq!(desk.ready(1, 1), ["admit 1 to 1"]);
}

#[test]
fn the_count_is_not_lowered_during_its_cooldown() {
    let scale = ScaleConfig {
        cooldown: ms(5_000),
        ..steps("in-flight", &["0:1/-1", "1:/1"])
    };
    let mut desk = busy(scaled(scale), 1);
    assert_eq!(
        desk.at(1_000).tick(),
        ["start 2.1 boot"],
        "one in flight for the whole second"
    );
    desk.ready(2, 1);
    desk.done(1);
    assert_eq!(tick_until(&mut desk, 2..=5), NOTHING);
    assert_eq!(
        tick_until(&mut desk, 6..=10),
        ["park 1.2"],
        "5 s after the count was raised"
    );
    assert_eq!(
        tick_until(&mut desk, 11..=11),
        ["park 2.2"],
        "5 s after it was lowered"
    );
}

#[test]
fn requests_start_what_they_need_above_the_count() {
    let mut desk = Desk::new(scaled(steps("in-flight", &["5:/1"])));
    assert_eq!(desk.queued(1), ["start 1.1 boot"]);
    assert_eq!(desk.queued(2), ["start 2.1 boot"]);
    desk.ready(1, 1);
    desk.ready(2, 1);
    desk.done(1);
    desk.done(2);
    assert_eq!(
        desk.at(10).tick().len(),
        2,
        "and the cooldown of the service parks them"
    );
}

#[test]
fn a_service_that_sleeps_has_no_ticks() {
    let mut desk = Desk::asleep(scaled(steps("in-flight", &["5:/1"])));
    desk.at(1_000).tick();
    assert_eq!(desk.deadline_ms(), None);
    desk.at(5_000).queued(1);
    assert_eq!(desk.deadline_ms(), Some(6_000), "a tick after it woke");
}

#[test]
fn a_target_is_kept_and_left_only_once_the_window_is_over() {
    let target = TargetTracking {
        metric: Metric::InFlight,
        target: Milli::from_units(2),
        down_window: ms(3_000),
        interval: ms(1_000),
        ..TargetTracking::default()
    };
    let mut desk = busy(
        ServiceConfig {
            concurrency: 10,
            ..scaled(ScaleConfig {
                mode: ScaleMode::Target(target),
                ..ScaleConfig::default()
            })
        },
        1,
    );
    for id in 2..=6 {
        desk.queued(id);
    }
    assert_eq!(desk.at(1_000).tick(), ["start 2.1 boot", "start 3.1 boot"]);
    assert_eq!(
        desk.reasons()[0],
        "1 awake, 3 wanted: 6 in flight, target 2 in flight"
    );
    desk.ready(2, 1);
    desk.ready(3, 1);
    for id in 1..=6 {
        desk.done(id);
    }
    assert_eq!(
        tick_until(&mut desk, 2..=3),
        NOTHING,
        "the window still has three"
    );
    assert_eq!(
        tick_until(&mut desk, 4..=4).len(),
        3,
        "nothing to do for three seconds"
    );
}

/// Expects somebody 50 ms after an instance may fall asleep.
struct Prophet;

impl Policy for Prophet {
    fn plan(&mut self, _: &ServiceConfig, idle: &Idle) -> Plan {
        let prewake = Prewake::new(idle.now + ms(50), ms(10), Rhythm::default());
        let plan = Plan::stay(Basis::Cooldown).then(Rung::Park(ParkLevel::Ram), ms(10));
        plan.with_prewake(Some(prewake))
    }
}

#[test]
fn an_exact_count_is_not_exceeded_for_somebody_who_is_expected() {
    let at_least = scaled(steps("in-flight", &["5:/1"]));
    let mut exactly = at_least.clone();
    exactly.scale.role = CountRole::Exactly;
    let wakes = |config: ServiceConfig, parks_at: u64| {
        let mut desk = Desk::awake_with(config, Prophet);
        assert_eq!(desk.at(parks_at).tick(), ["park 1.2"]);
        desk.parked(1, 2);
        desk.at(parks_at + 50).tick()
    };
    assert_eq!(
        wakes(exactly, 1_000),
        NOTHING,
        "nothing to do for a second: none is wanted"
    );
    assert_eq!(wakes(at_least, 10), ["start 1.3 restore"]);
}

fn knative() -> ScaleConfig {
    ScaleConfig {
        mode: ScaleMode::Kpa(KpaConfig {
            capacity: Milli::from_units(1),
            ..KpaConfig::default()
        }),
        role: CountRole::Exactly,
        ..ScaleConfig::default()
    }
}

#[test]
fn in_knative_mode_the_first_request_wakes_and_the_others_wait_for_the_tick() {
    let mut desk = Desk::new(scaled(knative()));
    assert_eq!(desk.queued(1), ["start 1.1 boot"]);
    desk.at(500).ready(1, 1);
    assert_eq!(desk.queued(2), NOTHING);
    assert_eq!(desk.queued(3), NOTHING);
    // 1 for 0.5 s, then 3 for 1.5 s: 2.5 on average; ⌈2.5 / 0.7⌉ = 4, of 1 ready: panic.
    assert_eq!(
        desk.at(2_000).tick(),
        ["start 2.1 boot", "start 3.1 boot", "start 4.1 boot"]
    );
    assert_eq!(
        desk.reasons()[0],
        "1 awake, 4 wanted: 2.5 stable, 2.5 panic, panicking"
    );
}

#[test]
fn in_knative_mode_nothing_is_parked_in_panic_and_then_half_a_tick() {
    let mut desk = Desk::new(scaled(knative()));
    desk.queued(1);
    desk.queued(2);
    desk.queued(3);
    desk.ready(1, 1);
    desk.at(2_000).tick();
    for id in 2..=5 {
        desk.ready(id, 1);
    }
    for id in 1..=3 {
        desk.done(id);
    }
    let ticks = |desk: &mut Desk, from: u64, to: u64| -> Vec<_> {
        (from / 2..=to / 2)
            .map(|tick| desk.at(tick * 2_000).tick().len())
            .collect()
    };
    // Panic was last called for at 2 s: at 4 s, ⌈1.5 / 0.7⌉ = 3 of 5 do not.
    assert_eq!(ticks(&mut desk, 4, 62).iter().sum::<usize>(), 0);
    assert_eq!(
        ticks(&mut desk, 64, 72),
        [3, 1, 1, 0, 0],
        "half of 5 stay, half of 2, then none"
    );
}

#[test]
fn a_restarted_scheduler_in_knative_mode_keeps_what_runs_for_a_stable_window() {
    let mut desk = Desk::new(scaled(knative()));
    let found = (41..=43).map(|id| report(id, 1, Phase::Running, &[]));
    desk.event(inventory(0, &[], found.collect()));
    let parked = |desk: &mut Desk, seconds: std::ops::RangeInclusive<u64>| {
        tick_until(desk, seconds)
            .iter()
            .filter(|action| action.starts_with("park"))
            .count()
    };
    assert_eq!(parked(&mut desk, 1..=61), 0, "it begins in panic at three");
    assert_eq!(parked(&mut desk, 62..=62), 2, "⌊3 / 2⌋ = 1 stays");
}

#[test]
fn staffing_keeps_spare_slots_for_a_great_load_where_a_wake_is_dear() {
    let mut staffed = scaled(ScaleConfig {
        mode: ScaleMode::Staffing(Staffing::default()),
        ..ScaleConfig::default()
    });
    staffed.max_instances = 20;
    let mut desk = busy(staffed.clone(), 9);
    // c·β = 5 ms · 200 = 1 s; 9 + √9 = 12.
    assert_eq!(
        desk.at(2_000).tick(),
        ["start 10.1 boot", "start 11.1 boot", "start 12.1 boot"]
    );
    assert_eq!(desk.reasons()[0], "9 awake, 12 wanted: 9 in the system");
    staffed.ladder.dial = scheduler::Dial::Economy;
    let mut desk = busy(staffed, 9);
    assert_eq!(desk.at(2_000).tick(), NOTHING, "5 ms · 20 = 100 ms");
}

#[test]
fn the_initial_instances_are_started_once_and_then_fall_asleep() {
    let scale = ScaleConfig {
        initial_instances: 2,
        ..ScaleConfig::default()
    };
    let mut desk = Desk::new(scaled(scale.clone()));
    assert_eq!(
        desk.reasons(),
        ["0 awake, 2 wanted: initial", "1 awake, 2 wanted: initial"]
    );
    desk.ready(1, 1);
    assert_eq!(desk.at(100).tick(), NOTHING, "the first waits for the second");
    desk.ready(2, 1);
    assert_eq!(desk.at(200).tick().len(), 2);
    desk.parked(1, 2);
    desk.parked(2, 2);
    assert_eq!(desk.configure(scaled(scale)), NOTHING);
}

#[test]
fn initial_instances_that_do_not_come_in_time_are_not_waited_for() {
    let scale = ScaleConfig {
        initial_instances: 2,
        ..ScaleConfig::default()
    };
    let mut desk = Desk::new(scaled(scale));
    desk.ready(1, 1);
    assert_eq!(desk.at(9_999).tick(), NOTHING);
    assert_eq!(desk.at(10_000).tick(), ["stop 2.2", "park 1.2"]);
    assert_eq!(desk.at(10_010).tick(), NOTHING, "nor tried again");
}

#[test]
fn a_count_stays_within_the_bounds() {
    let mut scaled = scaled(steps("in-flight", &["0:1/-5", "1:/5"]));
    (scaled.min_instances, scaled.max_instances) = (1, 3);
    let mut desk = Desk::new(scaled);
    desk.ready(1, 1);
    desk.queued(1);
    assert_eq!(desk.at(1_000).tick(), ["start 2.1 boot", "start 3.1 boot"]);
    desk.ready(2, 1);
    desk.ready(3, 1);
    desk.done(1);
    assert_eq!(desk.at(2_000).tick().len(), 2);
}

#[test]
fn a_clock_that_jumps_changes_nothing() {
    let mut desk = busy(scaled(steps("in-flight", &["1:/1"])), 1);
    assert_eq!(desk.at(3_600_000).tick(), NOTHING, "an hour is no second");
    assert_eq!(desk.at(3_601_000).tick(), ["start 2.1 boot"]);
}
