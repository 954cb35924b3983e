use scheduler::ServiceConfig;

use crate::desk::{Desk, NOTHING, config, up_to};

#[test]
fn each_request_without_a_slot_on_its_way_starts_one_instance_up_to_the_maximum() {
    let mut desk = Desk::new(up_to(2, 2));
    assert_eq!(desk.queued(1), ["start 1.1 boot"]);
    assert_eq!(desk.queued(2), NOTHING, "the first one has room for two");
    assert_eq!(desk.queued(3), ["start 2.1 boot"]);
    assert_eq!(desk.queued(4), NOTHING);
    assert_eq!(desk.queued(5), NOTHING, "there may be no third");
    assert_eq!(desk.ready(2, 1), ["admit 1 to 2", "admit 2 to 2"]);
    assert_eq!(desk.ready(1, 1), ["admit 3 to 1", "admit 4 to 1"]);
}

#[test]
fn who_waits_longest_takes_the_first_slot_wherever_it_is() {
    let mut desk = Desk::new(up_to(2, 1));
    desk.queued(1);
    desk.ready(1, 1);
    assert_eq!(desk.queued(2), ["start 2.1 boot"]);
    assert_eq!(desk.queued(3), NOTHING);
    assert_eq!(desk.done(1), ["admit 2 to 1"]);
    assert_eq!(desk.ready(2, 1), ["admit 3 to 2"]);
}

#[test]
fn the_oldest_free_instance_is_preferred_so_that_the_youngest_fall_asleep() {
    let mut desk = Desk::new(up_to(2, 1));
    desk.queued(1);
    desk.queued(2);
    desk.ready(1, 1);
    desk.ready(2, 1);
    desk.done(2);
    desk.done(1);
    assert_eq!(desk.at(5).queued(3), ["admit 3 to 1"]);
    assert_eq!(desk.at(10).tick(), ["park 2.2"]);
}

#[test]
fn a_sleeping_instance_is_woken_before_a_new_one_is_made() {
    let mut desk = Desk::asleep(up_to(2, 1));
    assert_eq!(desk.queued(1), ["start 1.3 restore"]);
    assert_eq!(desk.queued(2), ["start 2.1 boot"]);
}

#[test]
fn where_there_may_be_another_a_request_does_not_wait_for_one_that_parks() {
    let mut desk = Desk::awake(up_to(2, 1));
    desk.at(10).tick();
    assert_eq!(desk.queued(1), ["start 2.1 boot"]);
    assert_eq!(desk.parked(1, 2), NOTHING);
}

#[test]
fn the_minimum_is_started_without_a_request_and_kept_awake() {
    let mut desk = Desk::new(ServiceConfig {
        min_instances: 2,
        ..up_to(3, 1)
    });
    assert_eq!(desk.actions.len(), 2);
    assert_eq!(desk.reasons()[1], "1 awake, minimum 2");
    desk.ready(1, 1);
    desk.ready(2, 1);
    assert_eq!(desk.deadline_ms(), None);
}

#[test]
fn one_of_the_minimum_may_sleep_once_another_is_awake() {
    let mut desk = Desk::new(ServiceConfig {
        min_instances: 1,
        ..up_to(2, 1)
    });
    desk.ready(1, 1);
    desk.queued(1);
    desk.queued(2);
    assert_eq!(desk.done(1), ["admit 2 to 1"]);
    assert_eq!(desk.at(1).done(2), NOTHING);
    assert_eq!(
        desk.deadline_ms(),
        Some(10_000),
        "alone it stays awake; the other one still starts"
    );
    assert_eq!(desk.at(5).ready(2, 1), NOTHING);
    assert_eq!(desk.deadline_ms(), Some(11), "idle since 1 ms");
    assert_eq!(desk.at(11).tick(), ["park 1.2"]);
    assert_eq!(desk.at(100).tick(), NOTHING, "now the other one is the last");
}

#[test]
fn a_member_of_the_minimum_that_dies_is_replaced_after_a_pause() {
    let mut desk = Desk::new(ServiceConfig {
        min_instances: 1,
        ..config()
    });
    desk.ready(1, 1);
    assert_eq!(desk.exited(1, 1), NOTHING);
    assert_eq!(desk.at(10).tick(), ["start 2.1 boot"]);
}
