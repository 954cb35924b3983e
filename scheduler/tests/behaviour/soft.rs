//! Soft concurrency, clones and the guard against flapping.

use scheduler::{Flapping, ScaleConfig, ServiceConfig, StartSource};

use crate::desk::{Desk, NOTHING, config, ms};

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

/// Sleeps 1 ms after each request, and is woken 1 ms later, over and over.
fn flap(desk: &mut Desk, from: u64, rounds: u64) -> Vec<String> {
    let mut parks = Vec::new();
    let mut epoch = 2;
    for round in 0..rounds {
        let at = from + round * 20;
        let parked = desk.at(at).tick();
        if parked.is_empty() {
            desk.queued(100 + round);
            desk.at(at + 1).done(100 + round);
            continue;
        }
        parks.extend(parked);
        desk.parked(1, epoch);
        desk.at(at + 1).queued(100 + round);
        desk.ready(1, epoch + 1);
        desk.done(100 + round);
        epoch += 2;
    }
    parks
}

#[test]
fn a_pinned_cooldown_is_obeyed_even_where_it_flaps() {
    let mut desk = Desk::awake(ServiceConfig {
        scale: ScaleConfig {
            flapping: Some(Flapping::default()),
            ..ScaleConfig::default()
        },
        cooldown: Some(ms(10)),
        ..config()
    });
    assert_eq!(flap(&mut desk, 10, 12).len(), 12);
}
