use scheduler::{ParkLevel, ServiceConfig};

use crate::desk::{Desk, NOTHING, SERVICE, config, ms};

#[test]
fn the_first_request_boots_an_instance_and_is_admitted_when_it_is_ready() {
    let mut desk = Desk::new(config());
    assert_eq!(desk.queued(7), ["start 1.1 boot"]);
    assert_eq!(desk.reasons(), ["1 request waiting, 0 of 1 instance awake"]);
    desk.at(5);
    assert_eq!(desk.ready(1, 1), ["admit 7 to 1"]);
    assert_eq!(desk.reasons(), ["waited 5 ms, 1 in flight"]);
}

#[test]
fn a_hundred_requests_at_once_cause_one_start() {
    let mut desk = Desk::asleep(config());
    assert_eq!(desk.queued(1), ["start 1.3 restore"]);
    for request in 2..=100 {
        assert_eq!(desk.queued(request), NOTHING);
    }
    assert_eq!(desk.ready(1, 3).len(), 100);
}

#[test]
fn an_idle_instance_is_parked_exactly_at_the_end_of_its_cooldown() {
    let mut desk = Desk::awake(config());
    assert_eq!(desk.deadline_ms(), Some(10));
    assert_eq!(desk.at(9).tick(), NOTHING);
    assert_eq!(desk.at(10).tick(), ["park 1.2"]);
    assert_eq!(desk.reasons(), ["idle 10 ms, cooldown 10 ms"]);
    assert_eq!(desk.parked(1, 2), NOTHING);
    assert_eq!(desk.deadline_ms(), None);
}

#[test]
fn a_tick_a_nanosecond_early_does_not_park() {
    let mut desk = Desk::awake(config());
    desk.now = scheduler::Timestamp::from_nanos(9_999_999);
    assert_eq!(desk.tick(), NOTHING);
}

#[test]
fn activity_starts_the_cooldown_again() {
    let mut desk = Desk::awake(config());
    assert_eq!(desk.at(6).queued(1), ["admit 1 to 1"]);
    assert_eq!(desk.deadline_ms(), None);
    assert_eq!(desk.at(30).tick(), NOTHING);
    assert_eq!(desk.done(1), NOTHING);
    assert_eq!(desk.deadline_ms(), Some(40));
    assert_eq!(desk.at(39).tick(), NOTHING);
    assert_eq!(desk.at(40).tick(), ["park 1.2"]);
}

#[test]
fn a_request_after_the_deadline_but_before_its_tick_is_served_at_once() {
    let mut desk = Desk::awake(config());
    assert_eq!(desk.at(11).queued(1), ["admit 1 to 1"]);
    assert_eq!(desk.tick(), NOTHING);
}

#[test]
fn a_busy_instance_is_not_parked() {
    let mut desk = Desk::awake(config());
    desk.queued(1);
    assert_eq!(desk.at(1_000).tick(), NOTHING);
}

#[test]
fn a_sleeping_instance_is_restored_by_the_next_request() {
    let mut desk = Desk::asleep(config());
    assert_eq!(desk.at(500).queued(1), ["start 1.3 restore"]);
    assert_eq!(desk.ready(1, 3), ["admit 1 to 1"]);
}

#[test]
fn a_request_that_comes_while_parking_is_served_after_a_restore() {
    let mut desk = Desk::awake(config());
    assert_eq!(desk.at(10).tick(), ["park 1.2"]);
    assert_eq!(desk.queued(1), NOTHING);
    assert_eq!(desk.parked(1, 2), ["start 1.3 restore"]);
    assert_eq!(desk.ready(1, 3), ["admit 1 to 1"]);
}

#[test]
fn a_request_that_comes_while_parking_is_admitted_when_the_owner_refuses_to_park() {
    let mut desk = Desk::awake(config());
    desk.at(10).tick();
    desk.queued(1);
    assert_eq!(desk.refused(1, 2, 10), ["admit 1 to 1"]);
    assert_eq!(desk.deadline_ms(), None);
}

#[test]
fn a_refused_park_counts_the_cooldown_from_the_last_activity() {
    let mut desk = Desk::awake(config());
    desk.at(10).tick();
    assert_eq!(desk.at(12).refused(1, 2, 9), NOTHING);
    assert_eq!(desk.deadline_ms(), Some(19));
    assert_eq!(desk.at(19).tick(), ["park 1.3"]);
}

#[test]
fn an_owner_that_refuses_without_activity_is_asked_again_a_cooldown_later() {
    let mut desk = Desk::awake(config());
    desk.at(10).tick();
    assert_eq!(desk.at(12).refused(1, 2, 0), NOTHING);
    assert_eq!(desk.deadline_ms(), Some(22));
}

#[test]
fn an_owner_that_goes_on_refusing_is_asked_ever_more_rarely_but_once_a_second() {
    let mut desk = Desk::awake(config());
    let mut asked = Vec::new();
    for epoch in 2..13 {
        let now = desk.deadline_ms().expect("an idle instance has a deadline");
        assert_eq!(desk.at(now).tick(), [format!("park 1.{epoch}")]);
        asked.push(now);
        desk.refused(1, epoch, 0);
    }
    let waits: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000, 1_000]);
    // Activity of which only the owner knows.
    desk.tick();
    let now = desk.deadline_ms().expect("it is idle");
    desk.at(now).tick();
    desk.refused(1, 13, now - 3);
    assert_eq!(desk.deadline_ms(), Some(now + 7));
}

#[test]
fn a_wait_after_refusals_is_not_called_a_cooldown() {
    let mut desk = Desk::awake(config());
    for (now, epoch) in [(10, 2), (20, 3), (40, 4)] {
        desk.at(now).tick();
        desk.refused(1, epoch, 0);
    }
    let why = desk.scheduler.why(SERVICE).map(|why| why.to_string());
    let why = why.expect("it is configured");
    assert!(why.contains("parks in 40 ms (refused 3 times)"), "{why}");
    desk.at(80).tick();
    assert_eq!(
        desk.actions[0].to_string(),
        "park instance 1 in RAM: refused 3 times, last 40 ms ago, asked again after 40 ms"
    );
    // A new configuration is a new cooldown.
    desk.refused(1, 5, 0);
    desk.configure(config());
    desk.at(90).tick();
    assert_eq!(desk.reasons(), ["idle 10 ms, cooldown 10 ms"]);
}

#[test]
fn a_request_ends_the_patience_with_refusals() {
    let mut desk = Desk::awake(config());
    desk.at(10).tick();
    desk.refused(1, 2, 0);
    desk.at(20).tick();
    desk.refused(1, 3, 0);
    assert_eq!(desk.deadline_ms(), Some(40));
    desk.at(25).queued(1);
    desk.at(26).done(1);
    assert_eq!(desk.deadline_ms(), Some(36));
    desk.at(36).tick();
    desk.refused(1, 4, 26);
    assert_eq!(desk.deadline_ms(), Some(46), "as if it were the first");
    desk.at(46).tick();
    // One that slept in between is a new one, too.
    desk.parked(1, 5);
    desk.at(50).queued(2);
    desk.ready(1, 6);
    desk.at(51).done(2);
    assert_eq!(desk.deadline_ms(), Some(61));
}

#[test]
fn a_cooldown_longer_than_a_second_is_not_shortened_by_refusals() {
    let mut desk = Desk::awake(ServiceConfig {
        cooldown: Some(ms(5_000)),
        ..config()
    });
    for (epoch, now) in [(2, 5_000), (3, 10_000), (4, 15_000)] {
        assert_eq!(desk.at(now).tick(), [format!("park 1.{epoch}")]);
        desk.refused(1, epoch, 0);
    }
    assert_eq!(desk.deadline_ms(), Some(20_000));
}

#[test]
fn the_level_of_sleep_is_that_of_the_configuration() {
    let mut desk = Desk::awake(ServiceConfig {
        park_level: ParkLevel::Disk,
        ..config()
    });
    desk.at(10).tick();
    assert_eq!(
        desk.actions[0].to_string(),
        "park instance 1 on disk: idle 10 ms, cooldown 10 ms"
    );
}

#[test]
fn with_an_endless_cooldown_an_instance_stays_awake() {
    let desk = Desk::awake(ServiceConfig {
        cooldown: Some(std::time::Duration::MAX),
        ..config()
    });
    assert_eq!(desk.deadline_ms(), None);
}

#[test]
fn a_request_that_leaves_while_it_waits_is_forgotten() {
    let mut desk = Desk::new(config());
    desk.queued(1);
    assert_eq!(desk.done(1), NOTHING);
    assert_eq!(desk.at(3).ready(1, 1), NOTHING);
    assert_eq!(
        desk.deadline_ms(),
        Some(13),
        "the instance that came too late is parked like any other"
    );
}

#[test]
fn stale_and_repeated_answers_change_nothing() {
    let mut desk = Desk::asleep(config());
    desk.queued(1);
    assert_eq!(desk.scheduler.ignored_events(), 0);
    assert_eq!(desk.ready(1, 1), NOTHING, "the answer to an older start");
    assert_eq!(desk.parked(1, 2), NOTHING, "a second answer to the park");
    assert_eq!(desk.refused(1, 2, 10), NOTHING);
    assert_eq!(desk.exited(1, 2), NOTHING);
    assert_eq!(desk.failed(1, 2), NOTHING);
    assert_eq!(desk.ready(9, 1), NOTHING, "an instance that never was");
    assert_eq!(desk.scheduler.ignored_events(), 6);
    assert_eq!(desk.ready(1, 3), ["admit 1 to 1"]);
    assert_eq!(desk.ready(1, 3), NOTHING);
    assert_eq!(desk.queued(1), NOTHING, "a request that is in flight already");
    assert_eq!(desk.scheduler.ignored_events(), 8);
}

#[test]
fn time_that_goes_back_counts_as_the_latest_seen() {
    let mut desk = Desk::new(config());
    desk.at(100).queued(1);
    desk.at(50).ready(1, 1);
    desk.done(1);
    assert_eq!(desk.deadline_ms(), Some(110));
}

#[test]
fn a_request_waits_no_longer_than_it_may() {
    let mut settings = config();
    settings.queue.max_wait = ms(50);
    let mut desk = Desk::new(settings);
    desk.queued(1);
    desk.at(20).queued(2);
    assert_eq!(desk.deadline_ms(), Some(50));
    assert_eq!(desk.at(50).tick(), ["shed 1"]);
    assert_eq!(desk.reasons(), ["waited 50 ms, limit 50 ms"]);
    assert_eq!(desk.deadline_ms(), Some(70));
    assert_eq!(desk.at(60).ready(1, 1), ["admit 2 to 1"]);
}

#[test]
fn more_requests_than_may_wait_are_shed() {
    let mut settings = config();
    settings.queue.max_waiting = 2;
    let mut desk = Desk::new(settings);
    desk.queued(1);
    desk.queued(2);
    assert_eq!(desk.queued(3), ["shed 3"]);
    assert_eq!(desk.reasons(), ["2 requests waiting, limit 2"]);
    assert_eq!(desk.ready(1, 1), ["admit 1 to 1", "admit 2 to 1"]);
    assert_eq!(desk.queued(3), ["admit 3 to 1"]);
}
