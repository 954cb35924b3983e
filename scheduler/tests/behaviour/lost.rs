//! Every kind of notification may be lost: the next inventory and tick bring about what it would have.

use scheduler::{
    Activity, ConnectionId, CountRole, Epoch, Event, InstanceId, InstanceReport, Metric, Milli, Phase,
    RequestId, ScaleConfig, ScaleMode, ServiceConfig, StartSource, TargetTracking,
};

use crate::desk::{Desk, SERVICE, config, inventory, ms, report};

const ID: InstanceId = InstanceId(1);

/// What the owner has of instance 1.
fn there(epoch: u64, phase: Phase, in_flight: &[u64]) -> Vec<InstanceReport> {
    vec![report(ID.0, epoch, phase, in_flight)]
}

fn connected(activity: Option<Activity>) -> Vec<InstanceReport> {
    let mut there = there(1, Phase::Running, &[]);
    there[0].connections = activity
        .map(|activity| (ConnectionId(5), activity))
        .into_iter()
        .collect();
    there
}

/// A desk in some state, the event that is lost, and the inventory that follows it.
type Case = (&'static str, fn(ServiceConfig) -> Desk, Event, Event);

fn cases() -> Vec<Case> {
    let (service, instance, epoch) = (SERVICE, ID, Epoch(1));
    let (request, connection) = (RequestId(1), ConnectionId(5));
    let called: fn(ServiceConfig) -> Desk = |config| {
        let mut desk = Desk::new(config);
        desk.queued(1);
        desk
    };
    let busy: fn(ServiceConfig) -> Desk = |config| {
        let mut desk = Desk::awake(config);
        desk.queued(1);
        desk
    };
    let parking: fn(ServiceConfig) -> Desk = |config| {
        let mut desk = Desk::awake(config);
        desk.at(10).tick();
        desk
    };
    let talking: fn(ServiceConfig) -> Desk = |config| {
        let mut desk = Desk::awake(config);
        desk.active(1, 5);
        desk
    };
    let second = Epoch(2);
    vec![
        (
            "request",
            Desk::awake,
            Event::RequestQueued { service, request },
            inventory(3, &[], there(1, Phase::Running, &[1])),
        ),
        (
            "request of a sleeping service",
            Desk::asleep,
            Event::RequestQueued { service, request },
            inventory(4, &[1], there(3, Phase::Starting, &[])),
        ),
        (
            "end of a request",
            busy,
            Event::RequestDone { service, request },
            inventory(3, &[], there(1, Phase::Running, &[])),
        ),
        (
            "ready",
            called,
            Event::InstanceReady {
                service,
                instance,
                epoch,
            },
            inventory(2, &[], there(1, Phase::Running, &[1])),
        ),
        (
            "parked",
            parking,
            Event::InstanceParked {
                service,
                instance,
                epoch: second,
                written_bytes: 0,
            },
            inventory(3, &[], there(2, Phase::Parked, &[])),
        ),
        (
            "park refused",
            parking,
            Event::ParkRefused {
                service,
                instance,
                epoch: second,
                last_activity: scheduler::Timestamp::from_millis(10),
            },
            inventory(3, &[], there(2, Phase::Running, &[])),
        ),
        (
            "exited",
            Desk::awake,
            Event::InstanceExited {
                service,
                instance,
                epoch,
            },
            inventory(2, &[], vec![]),
        ),
        (
            "exited asleep",
            Desk::asleep,
            Event::InstanceExited {
                service,
                instance,
                epoch: second,
            },
            inventory(3, &[], vec![]),
        ),
        (
            "active",
            Desk::awake,
            Event::ConnectionActive {
                service,
                instance,
                connection,
            },
            inventory(2, &[], connected(Some(Activity::Active))),
        ),
        (
            "quiet",
            talking,
            Event::ConnectionQuiet {
                service,
                instance,
                connection,
            },
            inventory(2, &[], connected(Some(Activity::Quiet))),
        ),
        (
            "closed",
            talking,
            Event::ConnectionClosed {
                service,
                instance,
                connection,
            },
            inventory(2, &[], connected(None)),
        ),
    ]
}

/// What people are told of the service, without its history.
fn state(desk: &Desk) -> String {
    let why = desk.scheduler.why(SERVICE).expect("it is configured").to_string();
    why.split("; last at").next().unwrap_or_default().to_owned()
}

fn configs() -> Vec<ServiceConfig> {
    let scaled = |role, start_from| ServiceConfig {
        max_instances: 3,
        concurrency: 1,
        start_from,
        scale: ScaleConfig {
            mode: ScaleMode::Target(TargetTracking {
                metric: Metric::InFlight,
                target: Milli(700),
                interval: ms(1_000),
                ..TargetTracking::default()
            }),
            role,
            ..ScaleConfig::default()
        },
        ..config()
    };
    vec![
        config(),
        scaled(CountRole::AtLeast, StartSource::Instance),
        scaled(CountRole::Exactly, StartSource::Snapshot),
    ]
}

#[test]
fn every_kind_of_lost_notification_is_repaired_by_an_inventory() {
    for config in configs() {
        for (name, desk, event, inventory) in cases() {
            let (mut told, mut missed) = (desk(config.clone()), desk(config.clone()));
            let is_heard = |desk: &mut Desk, event: &Event| desk.event(event.clone());
            is_heard(&mut told, &event);
            is_heard(&mut told, &inventory);
            is_heard(&mut missed, &inventory);
            assert_eq!(state(&missed), state(&told), "{name}, {:?}", config.scale.role);
            let next = |desk: &mut Desk| {
                desk.now = desk.now + ms(1_000);
                desk.tick()
            };
            assert_eq!(next(&mut missed).len(), next(&mut told).len(), "{name}");
        }
    }
}

#[test]
fn a_client_whose_leaving_was_lost_is_found_out_when_it_is_admitted() {
    let mut desk = Desk::new(config());
    desk.queued(1);
    desk.event(inventory(1, &[], there(1, Phase::Starting, &[])));
    assert_eq!(
        desk.ready(1, 1),
        ["admit 1 to 1"],
        "it might have come after the owner looked"
    );
    desk.at(1).event(inventory(2, &[], there(1, Phase::Running, &[])));
    assert_eq!(desk.deadline_ms(), Some(11), "idle, and the cooldown runs");
}

#[test]
fn a_lost_failure_looks_as_a_lost_start_and_is_tried_again() {
    let mut desk = Desk::new(config());
    desk.queued(1);
    desk.event(inventory(1, &[1], vec![]));
    assert_eq!(desk.actions[0].reason.to_string(), "action 1 went unheard");
}

#[test]
fn a_lost_usage_is_made_up_for_by_the_next_one() {
    let steps = scheduler::StepPolicy::parse("cpu", "change", ["700:/1"]).expect("of the right form");
    let mut config = configs()[1].clone();
    config.scale.mode = ScaleMode::Steps(steps);
    let mut desk = Desk::new(config);
    desk.queued(1);
    desk.ready(1, 1);
    assert!(desk.at(1_000).tick().is_empty(), "no report, no decision");
    desk.usage(1, 900);
    assert_eq!(desk.at(2_000).tick(), ["start 2.1 clone of 1"]);
}

#[test]
fn a_lost_removal_or_configuration_is_made_up_for_by_sending_it_again() {
    let mut desk = Desk::asleep(config());
    assert_eq!(
        desk.event(Event::ServiceRemoved { service: SERVICE }),
        ["stop 1.3"]
    );
    assert!(
        desk.event(Event::ServiceRemoved { service: SERVICE }).is_empty(),
        "twice is once"
    );
    assert!(desk.configure(config()).is_empty());
    assert!(desk.configure(config()).is_empty(), "twice is once");
}
