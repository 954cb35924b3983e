use std::time::Duration;

use scheduler::{
    Event, LimitsConfig, ParkLevel, RateLimit, ServiceConfig, ServiceId, Settings, TenantConfig, TenantId,
};

use crate::cluster::{Cluster, MIB, at, ms, service, within};

fn starts(per_second: u64, burst: u64) -> Settings {
    Settings {
        limits: LimitsConfig {
            starts: Some(RateLimit::new(per_second, burst)),
            ..LimitsConfig::default()
        },
        ..Settings::default()
    }
}

/// The worst herd: everything asks in the same millisecond. A request waits for those ahead of it, and no longer.
#[test]
fn a_minute_aligned_herd_starts_at_the_rate_and_each_waits_as_long_as_computed() {
    const SERVICES: u64 = 10_000;
    let mut cluster = Cluster::unchecked(&starts(1_000, 100));
    for id in 0..SERVICES {
        cluster.configure(id, service(0, 0));
    }
    cluster.now = at(60_000);
    let requests: Vec<_> = (0..SERVICES).map(|id| cluster.request(id)).collect();
    // A start takes 5 ms.
    let mut ready = 0;
    while cluster.admitted.len() < requests.len() {
        cluster.wait(ms(5));
        while let Some(start) = cluster.starts.get(ready).copied() {
            ready += 1;
            cluster.progress(start.instance);
        }
    }
    let times: Vec<_> = cluster.starts.iter().map(|start| start.at).collect();
    assert!(within(&times, 1_000, 100));
    for (ahead, request) in (0..).zip(&requests) {
        let bound = Duration::from_micros(ahead * 1_000) + ms(10);
        let waited = cluster.admitted[request];
        assert!(waited <= bound, "{ahead} ahead: {waited:?}, {bound:?}");
    }
    assert!(cluster.shed.is_empty());
}

#[test]
fn why_names_the_limit_with_its_numbers_and_shedding_follows_it() {
    let mut cluster = Cluster::new(&starts(10, 1));
    for id in 0..3 {
        let mut config = service(0, 0);
        config.queue.max_waiting = 1;
        config.queue.retry_after = ms(1);
        cluster.configure(id, config);
        cluster.request(id);
    }
    let told = |cluster: &Cluster| cluster.scheduler.why(ServiceId(2)).map(|why| why.to_string());
    let told = told(&cluster).expect("it is configured");
    assert!(
        told.contains(
            "; no start: starts of all nodes are limited to 10/s, 1 at once: next at 100 ms, 2 starts waiting"
        ),
        "{told}"
    );
    let why_not = cluster
        .scheduler
        .why_not(ServiceId(2))
        .map(|why_not| why_not.to_string());
    let why_not = why_not.expect("it is configured");
    assert!(
        why_not.contains("starts of all nodes are limited to 10/s"),
        "{why_not}"
    );
    let shed = cluster.request(2);
    // The next token and one for each of the two that wait.
    assert_eq!(
        cluster.shed[&shed].to_string(),
        format!("shed request {shed}, retry after 300 ms: 1 request waiting, limit 1")
    );
    cluster.wait(ms(200));
    assert_eq!(cluster.starts.len(), 3);
    assert_eq!(cluster.blocked(2), None);
}

#[test]
fn parks_write_no_faster_than_they_may_and_a_request_takes_its_instance_out_of_that_line() {
    let settings = Settings {
        limits: LimitsConfig {
            park_bytes: Some(RateLimit::new(1_000 * MIB, 100 * MIB)),
            ..LimitsConfig::default()
        },
        ..Settings::default()
    };
    let mut cluster = Cluster::new(&settings);
    for id in 0..10 {
        cluster.configure(id, service(0, 100 * MIB));
        cluster.request(id);
    }
    cluster.progress_all();
    cluster.progress_all();
    cluster.wait(ms(50));
    assert_eq!(cluster.parks.len(), 1, "the burst");
    let busy = cluster.request(9);
    assert!(cluster.admitted.contains_key(&busy), "it had not been parked yet");
    cluster.wait(ms(2_000));
    let parks: Vec<_> = cluster.parks.iter().map(|park| park.0).collect();
    assert_eq!(parks.len(), 9, "all but the busy one");
    assert!(within(&parks, 10, 1), "{parks:?}");
}

#[test]
fn a_park_that_was_booked_for_one_tenant_is_not_given_back_to_another() {
    let mut cluster = Cluster::new(&Settings::default());
    cluster.tell(Event::TenantConfigured {
        tenant: TenantId(1),
        config: TenantConfig {
            park_bytes: Some(RateLimit::new(100 * MIB, 100 * MIB)),
            ..TenantConfig::default()
        },
    });
    for id in 1..=2 {
        cluster.configure(id, service(1, 100 * MIB));
        cluster.request(id);
    }
    cluster.progress_all();
    cluster.progress_all();
    cluster.wait(ms(20));
    assert_eq!(
        cluster.parks.len(),
        1,
        "the burst; the other one is to follow in a second"
    );
    cluster.configure(2, service(2, 100 * MIB));
    cluster.configure(3, service(1, 100 * MIB));
    cluster.request(3);
    cluster.run(2);
    cluster.wait(ms(2_000));
    let parks: Vec<_> = cluster.parks.iter().map(|park| park.0).collect();
    assert_eq!(parks[0], at(10));
    assert_eq!(parks[2], at(1_010), "its turn is free: {parks:?}");
}

#[test]
fn a_clock_that_goes_back_is_counted_and_changes_nothing() {
    let mut cluster = Cluster::new(&Settings::default());
    cluster.configure(1, service(0, 0));
    cluster.now = at(1_000);
    cluster.request(1);
    cluster.now = at(10);
    cluster.progress_all();
    assert_eq!(cluster.scheduler.clock_faults().backward, 1);
    cluster.now = at(1_000);
    cluster.progress_all();
    assert_eq!(cluster.scheduler.next_deadline(), Some(at(1_010)));
}

#[test]
fn after_the_owner_stood_still_parks_come_one_by_one_and_no_start_is_given_up() {
    let mut cluster = Cluster::new(&Settings::default());
    for id in 0..100 {
        cluster.configure(id, service(0, 0));
        cluster.request(id);
    }
    cluster.progress_all();
    cluster.progress_all();
    cluster.configure(200, ServiceConfig::default());
    cluster.request(200);
    // An hour in which nobody called.
    cluster.now = at(3_600_000);
    cluster.tell(Event::Tick);
    assert_eq!(cluster.scheduler.clock_faults().stalls, 1);
    assert_eq!(cluster.parks.len(), 10, "at once");
    assert!(cluster.parks.iter().all(|park| park.2 == ParkLevel::Ram));
    cluster.progress_all();
    assert_eq!(cluster.starts.len(), 101, "the start was still waited for");
    cluster.wait(ms(1_000));
    assert_eq!(cluster.parks.len(), 101);
    let late = *cluster.vms.keys().next_back().expect("it is there");
    let parks = cluster.parks.iter().filter(|park| park.1 != late);
    let parks: Vec<_> = parks.map(|park| park.0).collect();
    assert!(within(&parks, 100, 10));
}
