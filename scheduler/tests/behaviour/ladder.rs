//! Down the sleep ladder and up again, and awake before somebody comes.

use std::time::Duration;

use scheduler::{
    Basis, Epoch, Event, Idle, InstanceId, LadderConfig, Observation, ParkLevel, Plan, Policy, Prewake,
    Rhythm, Rung, RungCost, Seen, ServiceConfig, StartKind, Timestamp,
};

use crate::desk::{Desk, NOTHING, SERVICE, config, ms, up_to};

const PAUSED: Rung = Rung::Park(ParkLevel::Paused);
const RAM: Rung = Rung::Park(ParkLevel::Ram);
const DISK: Rung = Rung::Park(ParkLevel::Disk);

/// Paused after 10 ms, in RAM after 50, on disk after 1,000, stopped after 5,000; whoever comes next is expected so
/// long after the last one.
#[derive(Debug, Default)]
struct Steps {
    expected_in: Option<Duration>,
    seen: Vec<Observation>,
}

impl Policy for Steps {
    fn plan(&mut self, _: &ServiceConfig, idle: &Idle) -> Plan {
        let rhythm = Rhythm {
            period_us: 60_000_000,
            jitter_us: 3_000,
            hits_permille: 980,
        };
        let later = self.expected_in.map(|span| idle.since + span);
        let prewake = later.filter(|at| *at > idle.now);
        Plan::stay(Basis::Cooldown)
            .then(PAUSED, ms(10))
            .then(RAM, ms(50))
            .then(DISK, ms(1_000))
            .then(Rung::Stop, ms(5_000))
            .with_prewake(prewake.map(|at| Prewake::new(at, ms(20), rhythm)))
    }

    fn observe(&mut self, _: &ServiceConfig, seen: &Observation) {
        self.seen.push(*seen);
    }
}

fn stoppable() -> ServiceConfig {
    ServiceConfig {
        ladder: LadderConfig {
            stop: Some(RungCost::STOP),
            ..LadderConfig::default()
        },
        ..config()
    }
}

fn expecting(expected_in: Duration) -> Desk<Steps> {
    Desk::awake_with(
        config(),
        Steps {
            expected_in: Some(expected_in),
            ..Steps::default()
        },
    )
}

#[test]
fn an_idle_instance_goes_down_rung_by_rung_and_stops_where_it_may() {
    let mut desk = Desk::awake_with(stoppable(), Steps::default());
    assert_eq!(desk.at(10).tick(), ["park 1.2"]);
    assert_eq!(
        desk.actions[0].to_string(),
        "pause instance 1: idle 10 ms, cooldown 10 ms"
    );
    assert_eq!(desk.at(11).parked(1, 2), NOTHING);
    assert_eq!(desk.deadline_ms(), Some(50), "counted from the last activity");
    assert_eq!(desk.at(50).tick(), ["park 1.3"]);
    assert_eq!(desk.deadline_ms(), None, "it is the owner's turn");
    desk.at(55).parked(1, 3);
    let why = desk.scheduler.why(SERVICE).expect("it is configured").to_string();
    assert!(
        why.starts_with("service 1: instance 1 parked, parked on disk in 945 ms;"),
        "{why}"
    );
    assert_eq!(desk.at(1_000).tick(), ["park 1.4"]);
    desk.at(1_010).parked(1, 4);
    assert_eq!(desk.at(5_000).tick(), ["stop 1.5"]);
    assert_eq!(desk.exited(1, 5), NOTHING);
    assert_eq!(desk.queued(7), ["start 2.1 boot"]);
}

#[test]
fn an_instance_is_not_stopped_while_a_quiet_connection_would_break() {
    let mut desk = Desk::awake_with(stoppable(), Steps::default());
    desk.quiet(1, 5);
    for (epoch, millis) in [(2, 10), (3, 50), (4, 1_000)] {
        assert_eq!(desk.at(millis).tick(), [format!("park 1.{epoch}")]);
        desk.parked(1, epoch);
    }
    assert_eq!(desk.at(5_000).tick(), NOTHING);
    assert_eq!(desk.active(1, 5), ["start 1.5 restore"]);
}

#[test]
fn the_state_of_an_instance_is_not_given_up_unless_its_service_can_do_without() {
    let mut desk = Desk::awake_with(config(), Steps::default());
    desk.at(2_000).tick();
    desk.parked(1, 2);
    assert_eq!(desk.deadline_ms(), None);
}

#[test]
fn a_late_tick_goes_to_the_deepest_rung_that_is_due() {
    let mut desk = Desk::awake_with(stoppable(), Steps::default());
    assert_eq!(desk.at(1_500).tick(), ["park 1.2"]);
    assert_eq!(
        desk.actions[0].to_string(),
        "park instance 1 on disk: idle 1.5 s, cooldown 1 s"
    );
}

#[test]
fn an_instance_is_woken_from_any_rung_and_on_its_way_between_two() {
    let mut desk = Desk::awake_with(config(), Steps::default());
    desk.at(10).tick();
    desk.parked(1, 2);
    desk.at(50).tick();
    assert_eq!(
        desk.queued(1),
        ["start 1.4 restore"],
        "it need not arrive in RAM first"
    );
    assert_eq!(desk.parked(1, 3), NOTHING, "an answer that came too late");
    assert_eq!(desk.at(52).ready(1, 4), ["admit 1 to 1"]);
    let started = Seen::Started {
        kind: StartKind::Restore,
        from: Some(ParkLevel::Paused),
        took: ms(2),
    };
    let seen = &desk.scheduler.policy().seen;
    assert!(seen.iter().any(|seen| seen.seen == started), "{seen:?}");
}

#[test]
fn an_owner_that_cannot_go_deeper_leaves_the_instance_where_it_is() {
    let mut desk = Desk::awake_with(config(), Steps::default());
    desk.at(10).tick();
    desk.parked(1, 2);
    desk.at(50).tick();
    assert_eq!(desk.refused(1, 3, 50), NOTHING);
    assert_eq!(desk.deadline_ms(), None);
    assert_eq!(desk.queued(1), ["start 1.4 restore"]);
}

#[test]
fn the_policy_is_told_of_needs_waits_starts_and_parks() {
    let mut desk = Desk::awake_with(config(), Steps::default());
    desk.at(10).tick();
    desk.at(13).parked(1, 2);
    desk.at(20).queued(1);
    desk.at(24).ready(1, 3);
    let took = |ms: u64| Duration::from_millis(ms);
    let started = |kind, from, ms| Seen::Started {
        kind,
        from,
        took: took(ms),
    };
    let waited = |ms| Seen::Waited {
        level: 1,
        waited: took(ms),
    };
    let expected = [
        (0, Seen::Level { before: 0, after: 1 }),
        (0, started(StartKind::Boot, None, 0)),
        (0, waited(0)),
        (0, Seen::Level { before: 1, after: 0 }),
        (
            13,
            Seen::Parked {
                level: ParkLevel::Paused,
                took: took(3),
                written_bytes: 0,
            },
        ),
        (20, Seen::Level { before: 0, after: 1 }),
        (24, started(StartKind::Restore, Some(ParkLevel::Paused), 4)),
        (24, waited(4)),
    ]
    .map(|(at, seen)| Observation::new(SERVICE, Timestamp::from_millis(at), seen));
    assert_eq!(desk.scheduler.policy().seen, expected);
}

#[test]
fn a_sleeping_instance_is_awake_when_somebody_is_expected_and_sleeps_again_if_nobody_comes() {
    let mut desk = expecting(ms(300));
    desk.at(50).tick();
    desk.parked(1, 2);
    assert_eq!(desk.deadline_ms(), Some(300));
    assert_eq!(desk.at(300).tick(), ["start 1.3 restore"]);
    assert_eq!(
        desk.reasons(),
        ["called every 60 s ± 3 ms, 980 ‰ on time; kept for 20 ms"]
    );
    assert_eq!(desk.at(305).ready(1, 3), NOTHING);
    assert_eq!(desk.deadline_ms(), Some(320), "the time counts from the start");
    assert_eq!(desk.at(320).tick(), ["park 1.4"]);
    assert_eq!(
        desk.actions[0].to_string(),
        "park instance 1 in RAM: idle 320 ms, cooldown 320 ms"
    );
}

#[test]
fn who_was_expected_is_served_at_once() {
    let mut desk = expecting(ms(300));
    desk.at(50).tick();
    desk.parked(1, 2);
    desk.at(300).tick();
    desk.at(305).ready(1, 3);
    assert_eq!(desk.at(307).queued(1), ["admit 1 to 1"]);
}

#[test]
fn who_comes_before_the_time_is_not_expected_any_more() {
    let mut desk = expecting(ms(300));
    desk.at(50).tick();
    desk.parked(1, 2);
    desk.at(290).queued(1);
    assert_eq!(desk.at(295).ready(1, 3), ["admit 1 to 1"]);
    assert_eq!(desk.at(310).tick(), NOTHING);
    desk.done(1);
    assert_eq!(
        desk.scheduler.why(SERVICE).and_then(|why| why.prewake),
        Some(Timestamp::from_millis(610))
    );
}

#[test]
fn an_instance_that_is_awake_when_somebody_is_expected_stays_awake() {
    let mut desk = expecting(ms(5));
    assert_eq!(desk.at(5).tick(), NOTHING);
    assert_eq!(desk.deadline_ms(), Some(25));
    assert_eq!(desk.at(25).tick(), ["park 1.2"]);
}

#[test]
fn nobody_is_woken_for_somebody_during_a_pause_after_failures() {
    let policy = Steps {
        expected_in: Some(ms(100)),
        ..Steps::default()
    };
    let mut desk = Desk::with(up_to(2, 1), policy);
    for request in [1, 2] {
        desk.queued(request);
        desk.ready(request, 1);
    }
    desk.done(1);
    desk.done(2);
    assert_eq!(desk.at(10).tick(), ["park 1.2", "park 2.2"]);
    desk.parked(1, 2);
    desk.at(50).tick();
    desk.parked(1, 3);
    assert_eq!(desk.at(95).exited(2, 2), NOTHING, "it died");
    assert_eq!(desk.deadline_ms(), Some(100));
    assert_eq!(desk.at(100).tick(), NOTHING, "no start before 105 ms");
}

#[test]
fn what_a_park_on_disk_wrote_is_not_what_sleeps_in_ram() {
    let mut desk = Desk::awake_with(config(), Steps::default());
    desk.at(10).tick();
    desk.parked(1, 2);
    let mut park = |at, epoch, written_bytes| {
        desk.at(at).tick();
        desk.event(Event::InstanceParked {
            service: SERVICE,
            instance: InstanceId(1),
            epoch: Epoch(epoch),
            written_bytes,
        });
        let why = desk.scheduler.why(SERVICE).expect("it is configured");
        why.instances[0].park_bytes
    };
    assert_eq!(park(50, 3, 5_000), 5_000);
    assert_eq!(park(1_000, 4, 700), 5_000, "the disk may have compressed it");
}
