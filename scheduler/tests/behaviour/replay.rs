use std::fmt::Write;

use scheduler::{CountRole, Event, KpaConfig, Milli, ScaleMode, ServiceConfig};

use crate::desk::{Desk, SERVICE, brief, config};

/// A day in the life of one service, told with reasons. What changes here changes what users see.
const GOLDEN: &str = "\
0 ms | start 1.1 boot | 1 request waiting, 0 of 2 instances awake
0 ms | start 2.1 boot | 2 requests waiting, 0 of 2 instances awake
4 ms | admit 1 to 2 | waited 4 ms, 1 of 1 in flight
5 ms | admit 2 to 1 | waited 5 ms, 1 of 1 in flight
6 ms | admit 3 to 2 | waited 4 ms, 1 of 1 in flight
16 ms | park 1.2 | idle 10 ms, cooldown 10 ms
19 ms | park 2.2 | idle 12 ms, cooldown 10 ms
20 ms | start 1.3 restore | 1 request waiting, 0 of 2 instances awake
20 ms | start 3.1 boot | restore of instance 1 failed
20 ms | shed 4 | 1 failed start in a row, next attempt in 10 ms
30 ms | start 2.3 restore | attempt 2, 1 request waiting
31 ms | admit 5 to 2 | waited 10 ms, 1 of 1 in flight
32 ms | stop 2.4 | service removed
";

fn day() -> String {
    let mut config = ServiceConfig {
        max_instances: 2,
        concurrency: 1,
        ..config()
    };
    config.start.attempts = 1;
    let mut desk = Desk::new(config);
    let mut told = String::new();
    let mut tell = |desk: &Desk| {
        for action in &desk.actions {
            writeln!(told, "{} | {} | {}", desk.now, brief(action), action.reason)
                .expect("a string takes all");
        }
    };
    type Script = [(u64, fn(&mut Desk) -> Vec<String>)];
    let script: &Script = &[
        (0, |desk| desk.queued(1)),
        (0, |desk| desk.queued(2)),
        (2, |desk| desk.queued(3)),
        (4, |desk| desk.ready(2, 1)),
        (5, |desk| desk.ready(1, 1)),
        (6, |desk| desk.done(1)),
        (6, |desk| desk.done(2)),
        (7, |desk| desk.done(3)),
        (16, |desk| desk.tick()),
        (18, |desk| desk.parked(1, 2)),
        (19, |desk| desk.tick()),
        (20, |desk| desk.queued(4)),
        (20, |desk| desk.failed(1, 3)),
        (20, |desk| desk.parked(2, 2)),
        (20, |desk| desk.failed(3, 1)),
        (21, |desk| desk.queued(5)),
        (30, |desk| desk.tick()),
        (31, |desk| desk.ready(2, 3)),
        (32, |desk| desk.event(Event::ServiceRemoved { service: SERVICE })),
        (32, |desk| desk.done(5)),
        (33, |desk| desk.exited(2, 4)),
    ];
    for (millis, event) in script {
        event(desk.at(*millis));
        tell(&desk);
    }
    assert_eq!(desk.scheduler.services().count(), 0);
    told
}

#[test]
fn a_scripted_day_gives_exactly_these_actions_for_these_reasons() {
    assert_eq!(day(), GOLDEN);
}

/// A burst in Knative mode, second by second where something happens.
const BURST: &str = "\
0 ms | start 1.1 boot | 1 request waiting, 0 of 8 instances awake
500 ms | admit 1 to 1 | waited 500 ms, 1 of 1 in flight
2 s | start 2.1 boot | 1 awake, 4 wanted: 2.5 stable, 2.5 panic, panicking
2 s | start 3.1 boot | 2 awake, 4 wanted: 2.5 stable, 2.5 panic, panicking
2 s | start 4.1 boot | 3 awake, 4 wanted: 2.5 stable, 2.5 panic, panicking
2.5 s | admit 2 to 2 | waited 2 s, 1 of 1 in flight
2.5 s | admit 3 to 3 | waited 2 s, 1 of 1 in flight
64 s | park 4.2 | 4 awake, 2 wanted: 0 stable, 0 panic
64 s | park 1.2 | 3 awake, 2 wanted: 0 stable, 0 panic
66 s | park 2.2 | 2 awake, 1 wanted: 0 stable, 0 panic
68 s | park 3.2 | 1 awake, 0 wanted: 0 stable, 0 panic
";

fn burst() -> String {
    let mut config = ServiceConfig {
        max_instances: 8,
        concurrency: 1,
        ..config()
    };
    config.scale.role = CountRole::Exactly;
    config.scale.mode = ScaleMode::Kpa(KpaConfig {
        capacity: Milli::from_units(1),
        ..KpaConfig::default()
    });
    let mut desk = Desk::new(config);
    let mut told = String::new();
    for half in 0..150 {
        let mut tell = |desk: &mut Desk, event: &dyn Fn(&mut Desk) -> Vec<String>| {
            event(desk.at(half * 500));
            for action in &desk.actions {
                writeln!(told, "{} | {} | {}", desk.now, brief(action), action.reason)
                    .expect("a string takes all");
            }
        };
        tell(&mut desk, &Desk::tick);
        match half {
            0 => tell(&mut desk, &|desk| desk.queued(1)),
            1 => {
                tell(&mut desk, &|desk| desk.ready(1, 1));
                tell(&mut desk, &|desk| desk.queued(2));
                tell(&mut desk, &|desk| desk.queued(3));
            }
            5 => (2..=4).for_each(|id| tell(&mut desk, &|desk| desk.ready(id, 1))),
            6 => (1..=3).for_each(|id| tell(&mut desk, &|desk| desk.done(id))),
            _ => {}
        }
    }
    told
}

#[test]
fn a_scripted_burst_gives_exactly_these_counts_for_these_reasons() {
    assert_eq!(burst(), BURST);
}
