//! What a parked service takes of memory. It is read off the whole process, so this is the only test in it.

use std::time::Duration;

use scheduler::{
    Action, Command, Epoch, Event, InstanceId, RequestId, Scheduler, ServiceConfig, ServiceId, Settings,
    Timestamp, ValidConfig,
};

const SERVICES: u64 = 20_000;
/// With the 464 bytes that `simulate --check` grants to what is learned, a kibibyte.
const MOST_BYTES: u64 = 560;

/// A request wakes the service, is answered, and the service falls asleep for good.
fn used_once(scheduler: &mut Scheduler, now: &mut Timestamp, service: ServiceId, config: &ValidConfig) {
    let mut out = Vec::new();
    let request = RequestId(0);
    let config = config.clone();
    scheduler.handle(*now, Event::ServiceConfigured { service, config }, &mut out);
    scheduler.handle(*now, Event::RequestQueued { service, request }, &mut out);
    let (instance, epoch) = commanded(&out);
    let ready = Event::InstanceReady {
        service,
        instance,
        epoch,
    };
    scheduler.handle(*now, ready, &mut out);
    scheduler.handle(*now, Event::RequestDone { service, request }, &mut out);
    *now = scheduler.next_deadline().expect("it falls asleep");
    scheduler.handle(*now, Event::Tick, &mut out);
    let (instance, epoch) = commanded(&out);
    let parked = Event::InstanceParked {
        service,
        instance,
        epoch,
        written_bytes: 0,
    };
    scheduler.handle(*now, parked, &mut out);
    assert_eq!(scheduler.next_deadline(), None, "it sleeps for good");
}

/// Of the last action.
fn commanded(out: &[Action]) -> (InstanceId, Epoch) {
    let command = out.last().map(|action| action.command);
    let named = match command {
        Some(Command::Start { instance, epoch, .. } | Command::Park { instance, epoch, .. }) => {
            Some((instance, epoch))
        }
        _ => None,
    };
    named.expect("a start, then a park")
}

/// Of this process, as the kernel counts it (proc(5), statm).
fn resident_bytes() -> u64 {
    const PAGE: u64 = 4_096;
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("the second field counts pages") * PAGE
}

#[test]
fn a_parked_service_takes_half_a_kibibyte() {
    let config = ServiceConfig {
        cooldown: Some(Duration::from_millis(10)),
        ..ServiceConfig::default()
    };
    let config = config.validate().expect("a cooldown of 10 ms is fine");
    let (mut scheduler, mut now) = (Scheduler::new(&Settings::default()), Timestamp::ZERO);
    used_once(&mut scheduler, &mut now, ServiceId(SERVICES), &config);
    let before = resident_bytes();
    for service in (0..SERVICES).map(ServiceId) {
        used_once(&mut scheduler, &mut now, service, &config);
    }
    let each = (resident_bytes() - before) / SERVICES;
    assert!(each <= MOST_BYTES, "{each} bytes, at most {MOST_BYTES}");
    assert!(each > 256, "{each} bytes: this measures something else");
}
