use scheduler::{Event, Inventory, Phase, RequestId, ServiceConfig, ServiceId};

use crate::desk::{Desk, NOTHING, SERVICE, config, ms, report};

const REMOVED: Event = Event::ServiceRemoved { service: SERVICE };

#[test]
fn a_request_for_an_unknown_service_is_shed() {
    let mut desk = Desk::new(config());
    let event = Event::RequestQueued {
        service: ServiceId(9),
        request: RequestId(1),
    };
    assert_eq!(desk.event(event), ["shed 1"]);
    assert_eq!(desk.reasons(), ["unknown service"]);
}

#[test]
fn a_removed_service_sheds_who_waits_and_ends_with_its_last_request() {
    let mut desk = Desk::new(ServiceConfig {
        concurrency: 1,
        ..config()
    });
    desk.queued(1);
    desk.queued(2);
    desk.ready(1, 1);
    assert_eq!(desk.event(REMOVED), ["shed 2"]);
    assert_eq!(desk.queued(3), ["shed 3"]);
    assert_eq!(desk.done(1), ["stop 1.2"]);
    assert_eq!(desk.reasons(), ["service removed"]);
    assert_eq!(desk.exited(1, 2), NOTHING);
    assert_eq!(desk.scheduler.services().count(), 0);
    assert_eq!(desk.deadline_ms(), None);
}

#[test]
fn a_removed_service_stops_its_sleeping_instances() {
    let mut desk = Desk::asleep(config());
    assert_eq!(desk.event(REMOVED), ["stop 1.3"]);
    desk.exited(1, 3);
    assert_eq!(desk.scheduler.services().count(), 0);
}

#[test]
fn a_removed_service_stops_what_was_starting_or_parking_once_it_answers() {
    let mut desk = Desk::new(config());
    desk.queued(1);
    assert_eq!(desk.event(REMOVED), ["shed 1"]);
    assert_eq!(desk.ready(1, 1), ["stop 1.2"]);

    let mut desk = Desk::awake(config());
    desk.at(10).tick();
    assert_eq!(desk.event(REMOVED), NOTHING);
    assert_eq!(desk.parked(1, 2), ["stop 1.3"]);
}

#[test]
fn a_service_removed_during_the_pause_after_a_failure_leaves_nothing_behind() {
    let mut desk = Desk::new(config());
    desk.queued(1);
    desk.failed(1, 1);
    assert_eq!(desk.event(REMOVED), ["shed 1"]);
    assert_eq!(desk.scheduler.services().count(), 0);
    assert_eq!(desk.deadline_ms(), None);
}

#[test]
fn a_service_that_comes_back_keeps_the_instances_that_still_run() {
    let mut desk = Desk::new(config());
    desk.queued(1);
    desk.ready(1, 1);
    desk.event(REMOVED);
    assert_eq!(desk.configure(config()), NOTHING);
    assert_eq!(desk.queued(2), ["admit 2 to 1"]);
}

/// Who offers it again may count its generations anew.
#[test]
fn a_service_that_comes_back_is_new_whatever_its_generation() {
    let fifth = ServiceConfig {
        generation: 5,
        ..config()
    };
    let offered = || Event::ServiceConfigured {
        service: SERVICE,
        config: config().validate().expect("valid"),
    };
    let adopted = || Event::ServiceAdopted {
        config: config().validate().expect("valid"),
        inventory: Inventory {
            service: SERVICE,
            as_of: scheduler::ActionId(0),
            waiting: Vec::new(),
            instances: vec![report(1, 1, Phase::Running, &[1])],
        },
    };
    for again in [offered(), adopted()] {
        let mut desk = Desk::new(fifth.clone());
        desk.queued(1);
        desk.ready(1, 1);
        desk.event(REMOVED);
        desk.event(again);
        assert_eq!(desk.queued(2), ["admit 2 to 1"]);
    }
}

#[test]
fn a_lower_maximum_ends_sleeping_and_idle_instances_and_lets_busy_ones_finish() {
    let four = ServiceConfig {
        max_instances: 4,
        concurrency: 1,
        ..config()
    };
    let mut desk = Desk::new(four.clone());
    for id in 1..=4 {
        desk.queued(id);
        desk.ready(id, 1);
    }
    desk.done(1);
    desk.at(5).done(2);
    assert_eq!(desk.at(10).tick(), ["park 1.2"]);
    desk.parked(1, 2);
    assert_eq!(
        desk.at(11).configure(ServiceConfig {
            max_instances: 1,
            ..four
        }),
        ["stop 1.3"]
    );
    assert_eq!(desk.reasons(), ["4 instances, maximum 1"]);
    assert_eq!(desk.queued(5), ["admit 5 to 2"], "the oldest one awake stays");
    assert_eq!(desk.done(3), ["stop 3.2"]);
    assert_eq!(desk.queued(6), NOTHING, "a draining instance takes nothing new");
    assert_eq!(desk.done(4), ["stop 4.2"]);
    assert_eq!(desk.done(5), ["admit 6 to 2"]);
}

#[test]
fn a_new_cooldown_counts_from_the_last_activity() {
    let mut desk = Desk::awake(config());
    desk.at(5).configure(ServiceConfig {
        cooldown: Some(ms(50)),
        ..config()
    });
    assert_eq!(desk.deadline_ms(), Some(50));
    desk.configure(ServiceConfig {
        cooldown: Some(ms(2)),
        ..config()
    });
    assert_eq!(desk.tick(), ["park 1.2"]);
}

#[test]
fn more_concurrency_admits_who_waits() {
    let mut desk = Desk::new(ServiceConfig {
        concurrency: 1,
        ..config()
    });
    desk.queued(1);
    desk.queued(2);
    desk.ready(1, 1);
    assert_eq!(
        desk.configure(ServiceConfig {
            concurrency: 2,
            ..config()
        }),
        ["admit 2 to 1"]
    );
}

#[test]
fn services_do_not_share_requests_or_instances() {
    let mut desk = Desk::new(config());
    let other = ServiceId(2);
    let config = config().validate().expect("valid");
    desk.event(Event::ServiceConfigured {
        service: other,
        config,
    });
    desk.queued(1);
    assert_eq!(
        desk.event(Event::RequestQueued {
            service: other,
            request: RequestId(1)
        }),
        ["start 2.1 boot"]
    );
}
