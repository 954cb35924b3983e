//! A configuration that changes while the service runs.

use scheduler::{
    CountRole, KpaConfig, LimitsConfig, Milli, RateLimit, ScaleConfig, ScaleMode, Scheduler, ServiceConfig,
    Settings, StepPolicy, Timestamp,
};

use crate::desk::{Desk, NOTHING, SERVICE, config, ms};

fn of_generation(generation: u64) -> ServiceConfig {
    ServiceConfig {
        generation,
        max_instances: 4,
        concurrency: 1,
        ..config()
    }
}

fn generation(desk: &Desk) -> u64 {
    desk.scheduler.why(SERVICE).expect("it is configured").generation
}

#[test]
fn an_older_configuration_that_comes_late_changes_nothing() {
    let mut desk = Desk::new(of_generation(2));
    desk.configure(ServiceConfig {
        min_instances: 3,
        ..of_generation(1)
    });
    assert_eq!((desk.actions.len(), generation(&desk)), (0, 2));
    assert_eq!(desk.scheduler.ignored_events(), 1);
    assert_eq!(desk.configure(of_generation(2)), NOTHING);
    desk.configure(of_generation(3));
    assert_eq!((desk.scheduler.ignored_events(), generation(&desk)), (1, 3));
}

#[test]
fn what_was_commanded_under_an_older_generation_is_answered_under_a_newer_one() {
    let mut desk = Desk::new(of_generation(1));
    desk.queued(1);
    desk.configure(ServiceConfig {
        cooldown: Some(ms(20)),
        ..of_generation(2)
    });
    assert_eq!(desk.at(3).ready(1, 1), ["admit 1 to 1"]);
    desk.done(1);
    assert_eq!(desk.at(23).tick(), ["park 1.2"]);
    desk.configure(of_generation(3));
    assert_eq!(desk.parked(1, 2), NOTHING);
    assert_eq!(desk.scheduler.ignored_events(), 0);
}

#[test]
fn a_higher_minimum_starts_what_is_missing() {
    let mut desk = Desk::asleep(of_generation(1));
    let more = ServiceConfig {
        min_instances: 2,
        ..of_generation(2)
    };
    assert_eq!(desk.configure(more), ["start 1.3 restore", "start 2.1 boot"]);
}

#[test]
fn a_higher_minimum_starts_no_faster_than_starts_may_come() {
    let limits = LimitsConfig {
        starts: Some(RateLimit::new(10, 1)),
        ..LimitsConfig::default()
    };
    let settings = Settings {
        limits,
        ..Settings::default()
    };
    let mut desk = Desk {
        scheduler: Scheduler::new(&settings),
        now: Timestamp::ZERO,
        actions: Vec::new(),
    };
    desk.configure(of_generation(1));
    let three = ServiceConfig {
        min_instances: 3,
        ..of_generation(2)
    };
    assert_eq!(desk.configure(three), ["start 1.1 boot"]);
    let why_not = desk.scheduler.why_not(SERVICE).expect("it is configured");
    let text = why_not.start.to_string();
    assert!(
        text.contains("starts of all nodes are limited to 10/s, 1 at once"),
        "{text}"
    );
    assert_eq!(desk.at(100).tick(), ["start 2.1 boot"]);
    assert_eq!(desk.at(199).tick(), NOTHING);
    assert_eq!(desk.at(200).tick(), ["start 3.1 boot"]);
}

#[test]
fn a_lower_minimum_lets_idle_instances_fall_asleep() {
    let mut desk = Desk::new(ServiceConfig {
        min_instances: 2,
        ..of_generation(1)
    });
    desk.ready(1, 1);
    desk.ready(2, 1);
    assert_eq!(desk.at(50).tick(), NOTHING);
    desk.configure(of_generation(2));
    assert_eq!(desk.tick().len(), 2);
}

#[test]
fn a_lower_maximum_drains_and_never_ends_a_busy_instance() {
    let mut desk = Desk::new(of_generation(1));
    for id in 1..=3 {
        desk.queued(id);
        desk.ready(id, 1);
    }
    let one = ServiceConfig {
        max_instances: 1,
        ..of_generation(2)
    };
    assert_eq!(desk.configure(one), NOTHING, "all three are busy");
    assert_eq!(desk.done(3), ["stop 3.2"]);
    assert_eq!(desk.done(1), NOTHING, "the one that stays");
    assert_eq!(desk.done(2), ["stop 2.2"]);
}

fn counted(mode: ScaleMode, generation: u64) -> ServiceConfig {
    ServiceConfig {
        scale: ScaleConfig {
            mode,
            role: CountRole::Exactly,
            ..ScaleConfig::default()
        },
        ..of_generation(generation)
    }
}

fn knative(capacity: u64) -> ScaleMode {
    ScaleMode::Kpa(KpaConfig {
        capacity: Milli(capacity),
        ..KpaConfig::default()
    })
}

#[test]
fn what_a_mode_has_measured_survives_a_new_configuration_of_it() {
    let mut desk = Desk::new(counted(knative(1_000), 1));
    desk.queued(1);
    desk.queued(2);
    desk.at(500).ready(1, 1);
    assert_eq!(desk.at(2_000).tick().len(), 2, "in panic: ⌈2 / 0.7⌉ = 3");
    desk.ready(2, 1);
    desk.ready(3, 1);
    desk.at(2_500).done(1);
    desk.done(2);
    desk.configure(counted(knative(2_000), 2));
    assert_eq!(desk.at(4_000).tick(), NOTHING, "the panic goes on");
    let why = desk.scheduler.why(SERVICE).expect("it is configured").to_string();
    // 2 · 2 s and 2 · 0.5 s over 4 s.
    assert!(
        why.contains("3 wanted: 1.25 stable, 1.25 panic, panicking"),
        "{why}"
    );
}

#[test]
fn another_mode_begins_anew_and_none_leaves_no_tick_behind() {
    let mut desk = Desk::new(counted(knative(1_000), 1));
    desk.queued(1);
    desk.ready(1, 1);
    assert_eq!(desk.deadline_ms(), Some(2_000));
    let steps = StepPolicy::parse("in-flight", "change", ["1:/1"]).expect("of the right form");
    desk.configure(counted(ScaleMode::Steps(steps), 2));
    assert_eq!(desk.deadline_ms(), Some(1_000));
    desk.configure(of_generation(3));
    assert_eq!(desk.deadline_ms(), None, "busy, and nothing to compute");
}

#[test]
fn a_shorter_interval_counts_from_now() {
    let mut desk = Desk::new(counted(knative(1_000), 1));
    desk.queued(1);
    desk.ready(1, 1);
    let often = ScaleMode::Kpa(KpaConfig {
        tick: ms(100),
        ..KpaConfig::default()
    });
    desk.at(1_000).configure(counted(often, 2));
    assert_eq!(desk.deadline_ms(), Some(1_100));
}

#[test]
fn fewer_instances_at_first_are_enough_once_that_is_configured() {
    let at_first = |initial_instances, generation| {
        let mut config = of_generation(generation);
        config.scale.initial_instances = initial_instances;
        config
    };
    let mut desk = Desk::new(at_first(3, 1));
    assert_eq!(desk.actions.len(), 3);
    desk.failed(2, 1);
    desk.failed(3, 1);
    desk.configure(at_first(1, 2));
    let due = desk.deadline_ms().expect("the pause ends");
    assert_eq!(desk.at(due).tick(), NOTHING, "the first one is on its way");
    desk.ready(1, 1);
    assert_eq!(desk.at(due + 10).tick(), ["park 1.2"]);
}
