use std::time::Duration;

use scheduler::{
    Basis, Command, Event, Idle, Plan, Policy, RequestId, Rung, Scheduler, ServiceConfig, ServiceId,
    Settings, Timestamp, ValidConfig,
};

use crate::desk::{Desk, SERVICE, config};

fn why(desk: &Desk) -> String {
    desk.scheduler.why(SERVICE).expect("it is configured").to_string()
}

#[test]
fn why_tells_the_state_the_next_step_and_the_last_decision() {
    let mut desk = Desk::new(config());
    assert_eq!(why(&desk), "service 1: no instances; 0 requests waiting");
    desk.at(1).queued(1);
    assert_eq!(
        why(&desk),
        "service 1: instance 1 starting, given up in 10 s; 1 request waiting for up to 0 ms; \
         last at 1 ms: boot instance 1: 1 request waiting, 0 of 1 instance awake"
    );
    desk.at(3).ready(1, 1);
    desk.quiet(1, 9);
    assert_eq!(
        why(&desk).split("; ").next(),
        Some("service 1: instance 1 busy, 1 in flight, 1 connection open")
    );
    desk.closed(1, 9);
    desk.at(5).done(1);
    desk.at(8).tick();
    assert_eq!(
        why(&desk).split("; ").next(),
        Some("service 1: instance 1 idle, parks in 7 ms")
    );
    desk.at(17).tick();
    desk.parked(1, 2);
    assert_eq!(
        why(&desk),
        "service 1: instance 1 parked; 0 requests waiting; \
         last at 17 ms: park instance 1 in RAM: idle 12 ms, cooldown 10 ms"
    );
}

#[test]
fn why_tells_of_the_pause_after_a_failure() {
    let mut desk = Desk::new(config());
    desk.queued(1);
    desk.failed(1, 1);
    desk.at(4).tick();
    assert!(
        why(&desk).contains("; 1 failure in a row, next start in 6 ms;"),
        "{}",
        why(&desk)
    );
}

#[test]
fn an_unknown_service_has_no_explanation() {
    assert_eq!(Desk::new(config()).scheduler.why(ServiceId(9)), None);
}

#[test]
fn the_log_keeps_the_last_decisions_but_no_admissions() {
    let mut scheduler = Scheduler::new(&Settings {
        log_len: 2,
        ..Settings::default()
    });
    let mut out = Vec::new();
    let config = ServiceConfig::default().validate().expect("the default is valid");
    scheduler.handle(
        Timestamp::ZERO,
        Event::ServiceConfigured {
            service: SERVICE,
            config,
        },
        &mut out,
    );
    for request in 0..5 {
        let request = RequestId(request);
        scheduler.handle(
            Timestamp::ZERO,
            Event::RequestQueued {
                service: ServiceId(9),
                request,
            },
            &mut out,
        );
        scheduler.handle(
            Timestamp::ZERO,
            Event::RequestQueued {
                service: SERVICE,
                request,
            },
            &mut out,
        );
    }
    let kept: Vec<_> = scheduler
        .decisions()
        .map(|decision| decision.action.command)
        .collect();
    let shed = |request| Command::Shed {
        request: RequestId(request),
        retry_after: Duration::from_secs(1),
    };
    assert_eq!(kept, [shed(3), shed(4)]);
}

/// Keeps the instance that is needed first for 100 ms, others for 1 ms each.
struct Deep(Vec<Idle>);

impl Policy for Deep {
    fn plan(&mut self, config: &ServiceConfig, idle: &Idle) -> Plan {
        self.0.push(*idle);
        let cooldown = Duration::from_millis(if idle.level > 1 { 1 } else { 100 });
        Plan::stay(Basis::Cooldown).then(Rung::Park(config.park_level), cooldown)
    }
}

#[test]
fn a_policy_of_ones_own_sees_each_idle_instance_and_decides() {
    let mut scheduler = Scheduler::with_policy(&Settings::default(), Deep(Vec::new()));
    let (service, mut out) = (SERVICE, Vec::new());
    let config: ValidConfig = ServiceConfig {
        max_instances: 2,
        concurrency: 1,
        ..config()
    }
    .validate()
    .expect("valid");
    scheduler.handle(
        Timestamp::ZERO,
        Event::ServiceConfigured { service, config },
        &mut out,
    );
    for id in [1, 2] {
        scheduler.handle(
            Timestamp::ZERO,
            Event::RequestQueued {
                service,
                request: RequestId(id),
            },
            &mut out,
        );
    }
    for action in out.clone() {
        if let Command::Start { instance, epoch, .. } = action.command {
            scheduler.handle(
                Timestamp::ZERO,
                Event::InstanceReady {
                    service,
                    instance,
                    epoch,
                },
                &mut out,
            );
        }
    }
    scheduler.handle(
        Timestamp::from_millis(3),
        Event::RequestDone {
            service,
            request: RequestId(2),
        },
        &mut out,
    );
    assert_eq!(scheduler.next_deadline(), Some(Timestamp::from_millis(4)));
    let seen = scheduler.policy().0.last().expect("it was asked");
    assert_eq!(
        (seen.since, seen.awake, seen.level),
        (Timestamp::from_millis(3), 2, 2)
    );
}
