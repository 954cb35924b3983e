//! A place in line is worth what its service wants now, not what it wanted when it came.

use scheduler::{
    Command, Event, LimitsConfig, NodeConfig, ParkLevel, RateLimit, RequestId, ServiceConfig, ServiceId,
    Settings, TenantConfig, TenantId,
};

use crate::cluster::{Cluster, MIB, ms, service};

fn node(memory_mib: u64) -> Settings {
    Settings {
        limits: LimitsConfig {
            node: NodeConfig::with_memory(memory_mib * MIB),
            ..LimitsConfig::default()
        },
        ..Settings::default()
    }
}

/// A service whose requests wait for ever.
fn patient(tenant: u64, memory_mib: u64) -> ServiceConfig {
    let mut config = service(tenant, memory_mib * MIB);
    config.queue.max_wait = ms(3_600_000);
    config
}

fn always(memory_mib: u64) -> ServiceConfig {
    ServiceConfig {
        min_instances: 1,
        ..service(0, memory_mib * MIB)
    }
}

fn why(cluster: &Cluster, service: u64) -> String {
    let why_not = cluster.scheduler.why_not(ServiceId(service));
    why_not.map(|why_not| why_not.to_string()).unwrap_or_default()
}

#[test]
fn a_service_that_was_too_large_starts_once_it_is_configured_smaller() {
    let mut cluster = Cluster::new(&node(1_000));
    cluster.configure(1, patient(0, 2_000));
    let request = cluster.request(1);
    cluster.wait(ms(5_000));
    cluster.configure(1, patient(0, 100));
    cluster.progress_all();
    assert!(cluster.admitted.contains_key(&request), "{}", why(&cluster, 1));
}

#[test]
fn a_service_that_goes_to_another_tenant_leaves_the_quota_of_the_first() {
    let mut cluster = Cluster::new(&Settings::default());
    let config = TenantConfig {
        max_instances: Some(1),
        ..TenantConfig::default()
    };
    let tenant = TenantId(1);
    cluster.tell(Event::TenantConfigured { tenant, config });
    cluster.configure(1, patient(1, 10));
    cluster.configure(2, patient(1, 10));
    cluster.request(1);
    let request = cluster.request(2);
    cluster.configure(2, patient(2, 10));
    cluster.progress_all();
    assert!(cluster.admitted.contains_key(&request), "{}", why(&cluster, 2));
}

#[test]
fn who_waited_for_a_quota_starts_once_its_tenant_is_removed_which_it_is_once() {
    let mut cluster = Cluster::new(&node(1_000));
    let tenant = TenantId(1);
    let config = TenantConfig {
        max_instances: Some(1),
        max_memory_bytes: Some(100 * MIB),
        ..TenantConfig::default()
    };
    cluster.tell(Event::TenantConfigured { tenant, config });
    cluster.configure(1, patient(1, 10));
    cluster.configure(2, patient(1, 10));
    cluster.configure(3, patient(1, 200));
    let requests = [1, 2, 3].map(|service| cluster.request(service));
    assert_eq!(cluster.starts.len(), 1);
    cluster.tell(Event::TenantRemoved { tenant });
    cluster.progress_all();
    assert!(
        requests
            .iter()
            .all(|request| cluster.admitted.contains_key(request))
    );
    cluster.tell(Event::TenantRemoved { tenant });
    assert_eq!(cluster.scheduler.ignored_events(), 1);
}

#[test]
fn who_waited_for_the_node_of_a_sleeping_instance_starts_elsewhere_once_that_is_gone() {
    let mut cluster = Cluster::new(&node(1_000));
    let mut config = patient(0, 600);
    config.park_level = ParkLevel::Disk;
    config.max_instances = 1;
    cluster.configure(2, config);
    cluster.request(2);
    cluster.run(20);
    cluster.configure(1, always(500));
    cluster.progress_all();
    cluster.node_up(1, NodeConfig::with_memory(1_000 * MIB));
    let request = cluster.request(2);
    cluster.wait(ms(5_000));
    assert!(!cluster.admitted.contains_key(&request), "its state is on node 0");
    let there = cluster.vms.iter().find(|(_, vm)| vm.service == ServiceId(2));
    let asleep = *there.expect("it sleeps").0;
    cluster.exited(asleep);
    cluster.progress_all();
    assert!(cluster.admitted.contains_key(&request), "{}", why(&cluster, 2));
}

#[test]
fn who_waited_for_what_was_kept_for_others_starts_once_it_is_not() {
    let mut cluster = Cluster::new(&node(1_000));
    let mut broken = always(700);
    broken.start.retry_first = ms(100_000);
    broken.start.retry_cap = ms(100_000);
    cluster.configure(1, broken.clone());
    let dead = *cluster.vms.keys().next().expect("it starts");
    cluster.exited(dead);
    cluster.configure(2, patient(2, 400));
    let request = cluster.request(2);
    cluster.wait(ms(5_000));
    assert!(!cluster.admitted.contains_key(&request), "700 of 1,000 are kept");
    broken.min_instances = 0;
    cluster.configure(1, broken);
    cluster.progress_all();
    assert!(cluster.admitted.contains_key(&request), "{}", why(&cluster, 2));
}

#[test]
fn no_more_places_are_taken_than_instances_may_be_and_who_is_shed_comes_back_no_sooner_than_configured() {
    let limits = LimitsConfig {
        starts: Some(RateLimit::new(10, 1)),
        ..LimitsConfig::default()
    };
    let mut cluster = Cluster::new(&Settings {
        limits,
        ..Settings::default()
    });
    let mut config = patient(0, 10);
    config.max_instances = 2;
    config.queue.max_waiting = 5;
    config.queue.retry_after = ms(7_000);
    cluster.configure(1, patient(0, 10));
    cluster.configure(2, config);
    cluster.request(1);
    for _ in 0..5 {
        cluster.request(2);
    }
    let blocked = cluster.scheduler.blocked(ServiceId(2)).map(|by| by.to_string());
    let blocked = blocked.unwrap_or_default();
    assert!(blocked.ends_with(", 2 starts waiting"), "{blocked}");
    let request = cluster.request(2);
    let retry_after = ms(7_000);
    assert_eq!(
        cluster.shed[&request].command,
        Command::Shed { request, retry_after }
    );
}

#[test]
fn services_and_requests_that_left_leave_no_place_in_line() {
    let limits = LimitsConfig {
        starts: Some(RateLimit::new(1, 2)),
        ..node(1_000).limits
    };
    let mut cluster = Cluster::new(&Settings {
        limits,
        ..Settings::default()
    });
    cluster.configure(1, patient(0, 10));
    cluster.request(1);
    for id in 10..60 {
        let service = ServiceId(id);
        cluster.configure(id, patient(id % 3, 2_000));
        let request = cluster.request(id);
        cluster.tell(match id % 4 {
            0 => Event::ServiceRemoved { service },
            _ => Event::RequestDone { service, request },
        });
    }
    for id in [2, 3] {
        cluster.configure(id, patient(0, 10));
        cluster.request(id);
    }
    let blocked = cluster.scheduler.blocked(ServiceId(3)).map(|by| by.to_string());
    let blocked = blocked.unwrap_or_default();
    assert!(blocked.ends_with(", 1 start waiting"), "{blocked}");
}

/// 600 of 1,000 MiB are in use, of which 100 may end; 700 are kept for service 2 of tenant 5, which has one more instance;
/// the last request waits for 100 behind that.
fn keeping() -> (Cluster, RequestId, RequestId) {
    let mut cluster = Cluster::new(&node(1_000));
    for (id, tenant, memory_mib) in [(1, 0, 400), (4, 5, 100), (6, 0, 100)] {
        cluster.configure(id, patient(tenant, memory_mib));
        cluster.request(id);
    }
    cluster.configure(2, patient(5, 700));
    let large = cluster.request(2);
    cluster.wait(ms(2_000));
    cluster.configure(3, patient(3, 100));
    let small = cluster.request(3);
    let why = cluster.blocked(3).unwrap_or_default();
    assert!(why.contains("700 MiB for service 2"), "{why}");
    (cluster, large, small)
}

#[test]
fn what_was_kept_for_a_request_that_left_is_there_for_others_at_once() {
    let (mut cluster, request, small) = keeping();
    let service = ServiceId(2);
    cluster.tell(Event::RequestDone { service, request });
    cluster.progress_all();
    assert!(cluster.admitted.contains_key(&small), "{}", why(&cluster, 3));
}

#[test]
fn nothing_is_kept_for_who_has_something_else_in_the_way_as_well() {
    let (mut cluster, ..) = keeping();
    cluster.tell(Event::TenantConfigured {
        tenant: TenantId(5),
        config: TenantConfig {
            max_instances: Some(1),
            ..TenantConfig::default()
        },
    });
    let ends = cluster.vms.iter().find(|(_, vm)| vm.service == ServiceId(6));
    let ends = *ends.expect("it runs").0;
    cluster.exited(ends);
    assert!(
        cluster.vms.values().any(|vm| vm.service == ServiceId(3)),
        "at once: {}",
        why(&cluster, 3)
    );
}
