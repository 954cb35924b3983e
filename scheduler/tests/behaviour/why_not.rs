//! Why nothing happened: what people read. What changes here changes what users see.

use std::time::Duration;

use scheduler::{Event, KpaConfig, Milli, NoStart, NodeId, ScaleMode, ServiceConfig, ServiceId};

use crate::desk::{Desk, SERVICE, config, up_to};

fn why_not(desk: &Desk) -> String {
    let why_not = desk.scheduler.why_not(SERVICE).expect("it is configured");
    why_not.to_string()
}

/// The part about starts.
fn no_start(desk: &Desk) -> String {
    let why_not = desk.scheduler.why_not(SERVICE).expect("it is configured");
    why_not.start.to_string()
}

/// The part about each instance.
fn stays(desk: &Desk) -> Vec<String> {
    let why_not = desk.scheduler.why_not(SERVICE).expect("it is configured");
    why_not
        .instances
        .iter()
        .map(|(id, stays)| format!("{id} {stays}"))
        .collect()
}

#[test]
fn a_service_without_instances_waits_for_a_request() {
    assert_eq!(
        why_not(&Desk::new(config())),
        "service 1: no start: nobody waits, 0 awake or on the way, at least 0 wanted: a request; \
         no stop: 0 of at most 1 instance"
    );
}

#[test]
fn an_idle_instance_waits_for_its_time_and_has_room() {
    let mut desk = Desk::awake(up_to(2, 4));
    desk.at(3).tick();
    assert_eq!(
        why_not(&desk),
        "service 1: no start: nobody waits, 1 awake or on the way, at least 0 wanted: a request that finds no slot; \
         one has 0 of 4 in flight; instance 1 idle for 3 ms: parked in RAM in 7 ms; no stop: 1 of at most 2 instances"
    );
}

#[test]
fn a_busy_instance_is_kept_awake_by_what_it_does() {
    let mut desk = Desk::awake(config());
    desk.queued(1);
    assert_eq!(
        stays(&desk),
        ["1 has 1 request in flight: may sleep once they end"]
    );
    desk.active(1, 7);
    assert_eq!(
        stays(&desk),
        ["1 has 1 request in flight and 1 connection: may sleep once they end"]
    );
    desk.done(1);
    assert_eq!(stays(&desk), ["1 has 1 connection: may sleep once they end"]);
    assert!(
        no_start(&desk).ends_with("any number of requests fits on one"),
        "{}",
        no_start(&desk)
    );
}

#[test]
fn the_minimum_is_held() {
    let mut desk = Desk::new(ServiceConfig {
        min_instances: 1,
        ..config()
    });
    assert_eq!(stays(&desk), ["1 starts"]);
    desk.ready(1, 1);
    assert_eq!(
        stays(&desk),
        ["1 is one of 1 awake, at least 1 wanted (minimum): one more awake or fewer wanted"]
    );
}

#[test]
fn a_sleeping_instance_rests_and_one_that_never_sleeps_says_what_would_change_that() {
    assert_eq!(stays(&Desk::asleep(config())), ["1 sleeps as deeply as it may"]);
    let desk = Desk::awake(ServiceConfig {
        cooldown: Some(Duration::MAX),
        ..config()
    });
    assert_eq!(
        stays(&desk),
        ["1 never sleeps by itself: a cooldown or another policy"]
    );
}

#[test]
fn a_start_under_way_has_room_for_who_waits() {
    let mut desk = Desk::new(up_to(2, 3));
    desk.queued(1);
    desk.queued(2);
    assert_eq!(
        no_start(&desk),
        "2 requests waiting, 1 instance on the way with room for 3: one more request than that"
    );
}

#[test]
fn at_the_maximum_it_says_what_is_wanted_and_what_is_in_the_way() {
    let mut desk = Desk::new(up_to(1, 1));
    desk.queued(1);
    desk.ready(1, 1);
    desk.queued(2);
    assert_eq!(
        no_start(&desk),
        "1 request waiting, 1 of 1 instance awake; but there are 1 of at most 1, none asleep: \
         a higher max_instances or a request that ends"
    );
}

#[test]
fn after_a_failure_it_says_when_the_next_attempt_is() {
    let mut desk = Desk::new(config());
    desk.queued(1);
    desk.failed(1, 1);
    desk.at(4).tick();
    assert_eq!(no_start(&desk), "1 failure in a row: the next attempt is in 6 ms");
}

#[test]
fn a_count_that_is_exact_is_waited_for() {
    let mut config = up_to(4, 1);
    config.scale.mode = ScaleMode::Kpa(KpaConfig {
        capacity: Milli::from_units(1),
        ..KpaConfig::default()
    });
    config.scale.role = scheduler::CountRole::Exactly;
    let mut desk = Desk::new(config);
    desk.queued(1);
    desk.at(500).ready(1, 1);
    desk.at(1_500).queued(2);
    assert_eq!(
        no_start(&desk),
        "1 request waiting, 1 awake, 1 wanted (initial): the next count is in 500 ms"
    );
    desk.at(2_000).tick();
    desk.done(1);
    desk.done(2);
    assert_eq!(
        stays(&desk)[0],
        "1 is one of 1 awake, at least 2 wanted (1.25 stable, 1.25 panic, panicking): \
         one more awake or fewer wanted"
    );
}

#[test]
fn what_is_one_too_many_is_stopped_once_idle() {
    let mut desk = Desk::new(up_to(2, 1));
    desk.queued(1);
    desk.queued(2);
    desk.ready(1, 1);
    desk.ready(2, 1);
    desk.configure(up_to(1, 1));
    let text = why_not(&desk);
    assert!(
        text.contains("; instance 2 has 1 request in flight: stops once they end;"),
        "{text}"
    );
    assert!(
        text.ends_with("no stop: 1 of at most 1 instance, 1 more once idle"),
        "{text}"
    );
}

#[test]
fn a_removed_service_starts_nothing() {
    let mut desk = Desk::awake(config());
    desk.queued(1);
    desk.event(Event::ServiceRemoved { service: SERVICE });
    assert_eq!(no_start(&desk), "the service was removed: configure it again");
    assert!(why_not(&desk).ends_with("no stop: 0 of at most 0 instances, 1 more once idle"));
}

#[test]
fn of_an_unknown_service_nothing_is_known() {
    assert_eq!(Desk::new(config()).scheduler.why_not(ServiceId(9)), None);
}

#[test]
fn a_pause_that_is_over_is_told_until_a_tick_ends_it() {
    let mut desk = Desk::new(config());
    desk.queued(1);
    desk.failed(1, 1);
    desk.at(15).event(Event::NodeDown { node: NodeId(7) });
    let why_not = desk.scheduler.why_not(SERVICE).expect("it is configured");
    let left = Duration::ZERO;
    assert_eq!(why_not.start, NoStart::Pause { failures: 1, left });
    assert_eq!(desk.tick(), ["start 2.1 boot"]);
}
