//! Soft concurrency, clones and the guard against flapping.

use scheduler::{
    Basis, BreakEven, Flapping, Idle, ParkLevel, Plan, Policy, Rung, ScaleConfig, ServiceConfig, StartSource,
};

use crate::desk::{Desk, NOTHING, SERVICE, config, ms};

fn soft() -> ServiceConfig {
    ServiceConfig {
        max_instances: 3,
        concurrency: 4,
        scale: ScaleConfig {
            soft_concurrency: 2,
            ..ScaleConfig::default()
        },
        ..config()
    }
}

/// Instance 1 has two requests, as many as it is meant to have.
fn content() -> Desk {
    let mut desk = Desk::new(soft());
    desk.queued(1);
    desk.queued(2);
    desk.ready(1, 1);
    desk
}

#[test]
fn one_that_the_requests_in_flight_call_for_does_not_sleep_and_wake_again_and_again() {
    let mut desk = Desk::new(ServiceConfig {
        max_instances: 4,
        concurrency: 2,
        scale: ScaleConfig {
            soft_concurrency: 1,
            ..ScaleConfig::default()
        },
        ..config()
    });
    desk.queued(1);
    desk.queued(2);
    assert_eq!(desk.ready(1, 1), ["admit 1 to 1", "admit 2 to 1"]);
    assert_eq!(desk.ready(2, 1), NOTHING, "it came too late for them");
    for millis in [10, 20, 30] {
        assert_eq!(desk.at(millis).tick(), NOTHING);
        assert_eq!(desk.quiet(1, 1), NOTHING);
        desk.closed(1, 1);
    }
    desk.at(35).done(1);
    assert_eq!(desk.at(40).tick(), ["park 2.2"]);
    assert_eq!(desk.at(41).quiet(1, 1), NOTHING);
}

#[test]
fn above_the_soft_limit_one_more_starts_while_the_request_is_served() {
    let mut desk = content();
    assert_eq!(desk.queued(3), ["admit 3 to 1", "start 2.1 boot"]);
    assert_eq!(desk.reasons()[1], "3 in 1 instance, 2 meant for each");
    assert_eq!(
        desk.queued(4),
        ["admit 4 to 1"],
        "the one that starts has room for two"
    );
    assert_eq!(desk.queued(5), ["start 3.1 boot"], "the hard limit holds");
    assert_eq!(desk.ready(2, 1), ["admit 5 to 2"]);
}

#[test]
fn an_instance_below_its_soft_limit_is_preferred() {
    let mut desk = content();
    desk.queued(3);
    desk.ready(2, 1);
    assert_eq!(desk.queued(4), ["admit 4 to 2"]);
    assert_eq!(desk.queued(5), ["admit 5 to 2", "start 3.1 boot"], "five in two");
    assert_eq!(
        desk.queued(6),
        ["admit 6 to 1"],
        "both have what they are meant to have"
    );
}

#[test]
fn the_maximum_bounds_what_the_soft_limit_starts() {
    let mut desk = Desk::new(ServiceConfig {
        max_instances: 1,
        ..soft()
    });
    desk.queued(1);
    desk.ready(1, 1);
    assert_eq!(desk.queued(2), ["admit 2 to 1"]);
    assert_eq!(desk.queued(3), ["admit 3 to 1"]);
    assert_eq!(desk.queued(4), ["admit 4 to 1"]);
    assert_eq!(desk.queued(5), NOTHING);
}

fn cloning() -> ServiceConfig {
    ServiceConfig {
        max_instances: 3,
        concurrency: 1,
        start_from: StartSource::Instance,
        ..config()
    }
}

#[test]
fn the_first_instance_is_booted_and_the_others_are_its_clones() {
    let mut desk = Desk::new(cloning());
    assert_eq!(desk.queued(1), ["start 1.1 boot"]);
    assert_eq!(desk.queued(2), ["start 2.1 boot"], "nothing runs yet");
    desk.ready(1, 1);
    assert_eq!(desk.queued(3), ["start 3.1 clone of 1"]);
    assert_eq!(
        desk.actions[0].to_string(),
        "clone instance 3 of 1: 2 requests waiting, 1 of 3 instances awake"
    );
}

#[test]
fn a_clone_that_fails_becomes_a_boot_once() {
    let mut desk = Desk::new(cloning());
    desk.queued(1);
    desk.ready(1, 1);
    assert_eq!(desk.queued(2), ["start 2.1 clone of 1"]);
    assert_eq!(desk.failed(2, 1), ["start 3.1 boot"]);
    assert_eq!(desk.reasons(), ["clone 2 of instance 1 failed"]);
    assert_eq!(desk.failed(3, 1), NOTHING, "then comes the pause");
}

#[test]
fn a_sleeping_instance_is_woken_before_another_is_cloned() {
    let mut desk = Desk::asleep(cloning());
    assert_eq!(desk.queued(1), ["start 1.3 restore"]);
}

/// Parks after 1 ms, although keeping an instance paid up to 100 ms.
struct Hasty;

impl Policy for Hasty {
    fn plan(&mut self, _: &ServiceConfig, _: &Idle) -> Plan {
        let break_even = BreakEven::new(ms(100), ms(5), 20);
        Plan::stay(Basis::SkiRental(break_even)).then(Rung::Park(ParkLevel::Ram), ms(1))
    }
}

fn guarded() -> ServiceConfig {
    ServiceConfig {
        scale: ScaleConfig {
            flapping: Some(Flapping {
                enter: 3,
                leave: 1,
                window: ms(10_000),
                dwell: ms(5_000),
            }),
            ..ScaleConfig::default()
        },
        cooldown: None,
        ..config()
    }
}

/// One park at `at`, and one wake `slept` later; the request ends at once.
fn park_and_wake(desk: &mut Desk<Hasty>, at: u64, epoch: u64, slept: u64) {
    assert_eq!(desk.at(at).tick(), [format!("park 1.{epoch}")]);
    desk.parked(1, epoch);
    desk.at(at + slept).queued(at);
    desk.ready(1, epoch + 1);
    desk.done(at);
}

#[test]
fn an_instance_that_flaps_is_kept_for_the_break_even_time() {
    let mut desk = Desk::awake_with(guarded(), Hasty);
    park_and_wake(&mut desk, 1, 2, 9);
    park_and_wake(&mut desk, 11, 4, 9);
    assert_eq!(desk.deadline_ms(), Some(21), "twice is no habit");
    park_and_wake(&mut desk, 21, 6, 9);
    assert_eq!(desk.deadline_ms(), Some(130), "30 ms + T*");
    let why = desk.scheduler.why(SERVICE).expect("it is configured");
    assert!(why.is_flapping);
    assert!(why.to_string().contains("; flapping"), "{why}");
}

#[test]
fn an_instance_that_sleeps_beyond_the_break_even_time_never_flaps() {
    let mut desk = Desk::awake_with(guarded(), Hasty);
    for round in 0..10 {
        park_and_wake(&mut desk, 1 + round * 201, 2 + round * 2, 200);
    }
    assert_eq!(desk.deadline_ms(), Some(2_011), "1 ms after the last one");
}

#[test]
fn it_is_parked_as_planned_again_once_it_has_stopped_flapping() {
    let mut desk = Desk::awake_with(guarded(), Hasty);
    for round in 0..3 {
        park_and_wake(&mut desk, 1 + round * 10, 2 + round * 2, 9);
    }
    desk.at(20_000).tick();
    desk.parked(1, 8);
    desk.at(25_000).queued(99);
    desk.ready(1, 9);
    desk.done(99);
    assert_eq!(desk.deadline_ms(), Some(25_001));
}
