use scheduler::{ServiceConfig, StartConfig, StartSource};

use crate::desk::{Desk, NOTHING, config, ms};

fn attempts(attempts: u32) -> ServiceConfig {
    ServiceConfig {
        start: StartConfig {
            attempts,
            ..StartConfig::default()
        },
        ..config()
    }
}

#[test]
fn after_the_last_attempt_all_who_wait_are_shed_and_the_next_request_is_served() {
    let mut desk = Desk::new(attempts(1));
    desk.queued(1);
    desk.queued(2);
    assert_eq!(desk.failed(1, 1), ["shed 1", "shed 2"]);
    assert_eq!(
        desk.reasons()[0],
        "1 failed start in a row, next attempt in 10 ms"
    );
    assert_eq!(desk.at(10).queued(3), ["start 2.1 boot"]);
    assert_eq!(desk.ready(2, 1), ["admit 3 to 2"]);
}

#[test]
fn who_comes_during_the_pause_waits_for_its_end() {
    let mut desk = Desk::new(attempts(1));
    desk.queued(1);
    desk.failed(1, 1);
    assert_eq!(desk.at(3).queued(2), NOTHING);
    assert_eq!(desk.deadline_ms(), Some(10));
    assert_eq!(desk.at(10).tick(), ["start 2.1 boot"]);
    assert_eq!(desk.reasons(), ["attempt 2, 1 request waiting"]);
}

#[test]
fn a_failed_start_is_tried_again_after_a_growing_pause() {
    let mut desk = Desk::new(attempts(3));
    desk.queued(1);
    assert_eq!(desk.failed(1, 1), NOTHING);
    assert_eq!(desk.at(10).tick(), ["start 2.1 boot"]);
    assert_eq!(desk.failed(2, 1), NOTHING);
    assert_eq!(desk.deadline_ms(), Some(30));
    assert_eq!(desk.at(30).tick(), ["start 3.1 boot"]);
    assert_eq!(desk.failed(3, 1), ["shed 1"]);
}

#[test]
fn success_forgets_failures() {
    let mut desk = Desk::new(attempts(3));
    desk.queued(1);
    desk.failed(1, 1);
    desk.at(10).tick();
    desk.ready(2, 1);
    desk.done(1);
    desk.exited(2, 1);
    assert_eq!(
        desk.scheduler
            .why(crate::desk::SERVICE)
            .expect("it is configured")
            .failures,
        1
    );
}

#[test]
fn a_start_that_is_not_answered_in_time_is_stopped_and_counts_as_failed() {
    let mut desk = Desk::new(attempts(1));
    desk.queued(1);
    assert_eq!(desk.deadline_ms(), Some(10_000));
    assert_eq!(desk.at(10_000).tick(), ["stop 1.2", "shed 1"]);
    assert_eq!(desk.reasons()[0], "start not answered within 10 s");
    assert_eq!(desk.ready(1, 1), NOTHING, "too late");
    assert_eq!(
        desk.at(10_010).queued(2),
        ["start 2.1 boot"],
        "however long the old one takes to end"
    );
    assert_eq!(desk.exited(1, 2), NOTHING);
}

#[test]
fn a_parked_instance_that_cannot_be_restored_is_replaced_by_a_boot_once() {
    let mut desk = Desk::asleep(attempts(1));
    desk.queued(1);
    assert_eq!(desk.failed(1, 3), ["start 2.1 boot"]);
    assert_eq!(desk.reasons(), ["restore of instance 1 failed"]);
    assert_eq!(desk.failed(2, 1), ["shed 1"]);
}

#[test]
fn a_restore_that_hangs_is_replaced_by_a_boot() {
    let mut desk = Desk::asleep(config());
    desk.at(20).queued(1);
    assert_eq!(desk.at(10_020).tick(), ["stop 1.4", "start 2.1 boot"]);
}

#[test]
fn nothing_is_booted_in_place_of_a_restore_that_nobody_waits_for_any_more() {
    let mut desk = Desk::asleep(config());
    desk.queued(1);
    desk.done(1);
    assert_eq!(desk.failed(1, 3), NOTHING);
}

#[test]
fn a_service_with_a_snapshot_restores_new_instances_and_boots_when_that_fails() {
    let mut desk = Desk::new(ServiceConfig {
        start_from: StartSource::Snapshot,
        ..config()
    });
    assert_eq!(desk.queued(1), ["start 1.1 restore"]);
    assert_eq!(desk.failed(1, 1), ["start 2.1 boot"]);
}

#[test]
fn an_instance_that_dies_is_replaced_for_those_who_wait() {
    let mut desk = Desk::new(ServiceConfig {
        concurrency: 1,
        ..attempts(3)
    });
    desk.queued(1);
    desk.queued(2);
    desk.ready(1, 1);
    assert_eq!(desk.exited(1, 1), NOTHING);
    assert_eq!(desk.at(10).tick(), ["start 2.1 boot"]);
    assert_eq!(desk.ready(2, 1), ["admit 2 to 2"]);
    let counters = desk
        .scheduler
        .why(crate::desk::SERVICE)
        .expect("it is configured")
        .counters;
    assert_eq!((counters.lost, counters.done), (1, 0));
}

#[test]
fn an_instance_that_dies_while_parking_does_not_strand_who_waits() {
    let mut desk = Desk::awake(attempts(1));
    desk.at(10).tick();
    desk.queued(1);
    assert_eq!(desk.exited(1, 2), ["shed 1"]);
    assert_eq!(desk.at(20).queued(2), ["start 2.1 boot"]);
}

#[test]
fn who_waits_is_not_shed_while_another_instance_may_take_it() {
    let mut desk = Desk::new(ServiceConfig {
        max_instances: 2,
        concurrency: 1,
        ..attempts(1)
    });
    desk.queued(1);
    desk.queued(2);
    assert_eq!(desk.failed(1, 1), NOTHING);
    assert_eq!(desk.ready(2, 1), ["admit 1 to 2"]);
    assert_eq!(desk.done(1), ["admit 2 to 2"]);
}

#[test]
fn a_sleeping_instance_that_vanishes_is_not_a_failure() {
    let mut desk = Desk::asleep(config());
    assert_eq!(desk.exited(1, 2), NOTHING);
    assert_eq!(desk.queued(1), ["start 2.1 boot"]);
}

#[test]
fn the_pause_is_bounded() {
    let start = StartConfig {
        attempts: 1,
        retry_first: ms(10),
        retry_cap: ms(15),
        ..StartConfig::default()
    };
    let mut desk = Desk::new(ServiceConfig { start, ..config() });
    for (instance, at) in [(1, 0), (2, 100), (3, 200)] {
        desk.at(at).queued(instance);
        desk.failed(instance, 1);
    }
    assert_eq!(desk.deadline_ms(), Some(215));
}

#[test]
fn who_waits_is_not_shed_while_an_instance_that_parks_may_still_serve_them() {
    let mut desk = Desk::awake(ServiceConfig {
        max_instances: 2,
        ..attempts(1)
    });
    assert_eq!(desk.at(10).tick(), ["park 1.2"]);
    assert_eq!(desk.queued(1), ["start 2.1 boot"]);
    assert_eq!(desk.failed(2, 1), NOTHING);
    assert_eq!(desk.parked(1, 2), NOTHING, "the pause goes on");
    assert_eq!(desk.at(20).tick(), ["start 1.3 restore"]);
    assert_eq!(desk.reasons(), ["1 request waiting, 0 of 2 instances awake"]);
}
