use scheduler::{
    Action, Basis, Command, Event, Idle, LimitsConfig, NodeConfig, NodeId, ParkLevel, Phase, Plan, Policy,
    Prewake, RateLimit, RequestId, ResourceConfig, Rhythm, Rung, Scheduler, ServiceConfig, ServiceId,
    Settings, TenantConfig, TenantId, Timestamp,
};

use crate::cluster::{Cluster, MIB, ms, service};

pub(crate) fn node(memory_mib: u64) -> Settings {
    Settings {
        limits: LimitsConfig {
            node: NodeConfig::with_memory(memory_mib * MIB),
            ..LimitsConfig::default()
        },
        ..Settings::default()
    }
}

/// Ten services asleep in RAM, 80 MiB each; the one with number 9 was used most.
pub(crate) fn asleep(settings: &Settings) -> Cluster {
    let mut cluster = Cluster::new(settings);
    for id in 0..10 {
        cluster.configure(id, service(id % 2, 80 * MIB));
        for _ in 0..=id {
            cluster.request(id);
            cluster.progress_all();
            cluster.progress_all();
        }
        cluster.wait(ms(10));
        cluster.progress_all();
    }
    cluster
}

fn on_disk(cluster: &Cluster) -> Vec<u64> {
    let vms = cluster.vms.values();
    vms.filter(|vm| vm.phase == Phase::Parked && vm.level == ParkLevel::Disk)
        .map(|vm| vm.service.0)
        .collect()
}

#[test]
fn above_high_water_the_least_used_leave_ram_down_to_low_water_and_no_further() {
    let mut cluster = asleep(&node(1_000));
    assert_eq!(on_disk(&cluster), [0; 0], "800 of 1000 is not above 90 %");
    let mut config = service(0, 80 * MIB);
    config.min_instances = 2;
    cluster.configure(20, config);
    cluster.progress_all();
    // 960 were used, of which 160 went; 800 are 80 %. The large share of tenant 0 goes first.
    assert_eq!(on_disk(&cluster), [0, 2]);
    assert_eq!(cluster.used(NodeId(0)), 800 * MIB);
    let view = cluster.scheduler.node(NodeId(0)).expect("it is up");
    assert_eq!((view.reserved_bytes, view.cache_bytes), (160 * MIB, 640 * MIB));
}

#[test]
fn who_is_asked_for_often_stays_in_ram_whatever_its_number() {
    let mut cluster = Cluster::new(&node(1_000));
    for (id, requests) in [(1, 9), (2, 1)] {
        cluster.configure(id, service(0, 400 * MIB));
        for _ in 0..requests {
            cluster.request(id);
            cluster.progress_all();
            cluster.progress_all();
        }
        cluster.run(20);
    }
    cluster.configure(3, service(0, 300 * MIB));
    cluster.request(3);
    cluster.run(5);
    assert_eq!(on_disk(&cluster), [2]);
}

#[test]
fn what_sleeps_in_ram_makes_room_for_what_has_to_start() {
    let mut cluster = asleep(&node(900));
    cluster.configure(20, service(3, 400 * MIB));
    let request = cluster.request(20);
    assert!(cluster.starts.len() == 10, "there is no room yet");
    cluster.run(5);
    assert!(cluster.admitted.contains_key(&request));
    assert!(
        !on_disk(&cluster).contains(&9),
        "the one used most stays: {:?}",
        on_disk(&cluster)
    );
}

/// A service with so many instances that are to be awake always.
fn always(tenant: u64, count: u32, memory_mib: u64) -> ServiceConfig {
    ServiceConfig {
        min_instances: count,
        ..service(tenant, memory_mib * MIB)
    }
}

#[test]
fn what_could_never_be_awake_keeps_nobody_from_memory() {
    let mut cluster = Cluster::new(&node(1_000));
    cluster.tell(Event::TenantConfigured {
        tenant: TenantId(2),
        config: TenantConfig {
            max_memory_bytes: Some(100 * MIB),
            ..TenantConfig::default()
        },
    });
    cluster.tell(Event::TenantConfigured {
        tenant: TenantId(3),
        config: TenantConfig {
            max_instances: Some(1),
            ..TenantConfig::default()
        },
    });
    cluster.configure(1, always(1, 1, 2_000));
    cluster.configure(2, always(2, 20, 100));
    cluster.configure(3, always(3, 20, 100));
    cluster.configure(9, service(9, 10 * MIB));
    let request = cluster.request(9);
    cluster.progress_all();
    assert!(
        cluster.admitted.contains_key(&request),
        "{:?}",
        cluster.scheduler.blocked(ServiceId(9))
    );
}

#[test]
fn what_could_never_start_beside_those_always_awake_closes_no_node() {
    let mut cluster = Cluster::new(&node(1_000));
    cluster.configure(1, always(1, 1, 600));
    cluster.progress_all();
    cluster.configure(2, service(2, 500 * MIB));
    cluster.configure(3, service(3, 50 * MIB));
    cluster.request(2);
    cluster.wait(ms(2_000));
    let request = cluster.request(3);
    cluster.progress_all();
    assert!(
        cluster.admitted.contains_key(&request),
        "{:?}",
        cluster.scheduler.blocked(ServiceId(3))
    );
}

#[test]
fn wakes_go_above_high_water_where_new_instances_do_not() {
    let mut cluster = Cluster::new(&node(1_000));
    cluster.configure(1, service(0, 450 * MIB));
    cluster.configure(2, service(0, 450 * MIB));
    cluster.configure(3, service(0, 60 * MIB));
    cluster.request(1);
    cluster.request(2);
    cluster.request(3);
    assert_eq!(cluster.starts.len(), 2);
    assert_eq!(
        cluster.blocked(3).as_deref(),
        Some("node 0 has 0 B of 1000 MiB free, 60 MiB needed: an instance has to fall asleep or end")
    );
}

#[test]
fn instances_are_charged_for_what_they_have_and_room_to_grow() {
    let mut cluster = Cluster::new(&node(1_000));
    for id in 0..4 {
        cluster.configure(id, service(0, 400 * MIB));
        cluster.request(id);
    }
    assert_eq!(cluster.starts.len(), 2, "as declared");
    cluster.progress_all();
    cluster.forgive();
    let running: Vec<_> = cluster.vms.iter().map(|(id, vm)| (*id, vm.service)).collect();
    for (instance, service) in running {
        cluster.tell(Event::InstanceMemory {
            service,
            instance,
            resident_bytes: 30 * MIB,
            dirty_bytes: 5 * MIB,
        });
    }
    let view = cluster.scheduler.node(NodeId(0)).expect("it is up");
    assert_eq!(cluster.starts.len(), 4, "they use less");
    assert_eq!(view.burst_bytes, 2 * 46 * MIB + 2 * 400 * MIB);
    assert_eq!(view.starting_bytes, 800 * MIB);
}

#[test]
fn a_measure_that_no_instance_can_have_counts_as_the_most_there_may_be() {
    let mut cluster = Cluster::new(&Settings::default());
    for id in 0..3 {
        cluster.configure(id, service(0, 0));
        cluster.request(id);
    }
    cluster.progress_all();
    let running: Vec<_> = cluster.vms.iter().map(|(id, vm)| (*id, vm.service)).collect();
    for (instance, service) in running {
        cluster.tell(Event::InstanceMemory {
            service,
            instance,
            resident_bytes: u64::MAX,
            dirty_bytes: u64::MAX,
        });
    }
    let view = cluster.scheduler.node(NodeId(0)).expect("it is up");
    assert_eq!(view.burst_bytes, 3 * ResourceConfig::MAX_MEMORY_BYTES);
}

#[test]
fn a_measure_that_no_instance_can_have_keeps_nobody_from_parking() {
    let mut cluster = Cluster::new(&Settings {
        limits: LimitsConfig {
            park_bytes: Some(RateLimit::new(1_000 * MIB, 100 * MIB)),
            ..LimitsConfig::default()
        },
        ..Settings::default()
    });
    for (id, memory_bytes) in [(1, 0), (2, 50 * MIB)] {
        cluster.configure(id, service(0, memory_bytes));
        cluster.request(id);
    }
    cluster.progress_all();
    let first = cluster.vms.iter().next().map(|(id, vm)| (*id, vm.service));
    let (instance, service) = first.expect("it runs");
    cluster.tell(Event::InstanceMemory {
        service,
        instance,
        resident_bytes: u64::MAX,
        dirty_bytes: u64::MAX,
    });
    cluster.run(200);
    assert_eq!(cluster.parks.len(), 2, "{:?}", cluster.parks);
}

#[test]
fn the_least_instances_of_a_service_are_never_moved_and_have_memory_kept() {
    let mut cluster = Cluster::new(&node(1_000));
    let mut config = service(0, 300 * MIB);
    config.min_instances = 2;
    cluster.configure(1, config);
    cluster.progress_all();
    assert_eq!(cluster.starts.len(), 2);
    let first = *cluster.vms.keys().next().expect("it runs");
    for id in 2..6 {
        cluster.configure(id, service(1, 100 * MIB));
    }
    cluster.request(2);
    cluster.request(3);
    cluster.exited(first);
    // 300 MiB became free: others may not have them.
    cluster.request(4);
    cluster.request(5);
    cluster.run(30);
    let view = cluster.scheduler.node(NodeId(0)).expect("it is up");
    assert_eq!(view.reserved_bytes, 600 * MIB);
}

/// Parks after 10 ms, and expects service 1 again 5 ms after that.
struct Expecting;

impl Policy for Expecting {
    fn plan(&mut self, _: &ServiceConfig, idle: &Idle) -> Plan {
        let prewake = Prewake::new(idle.since + ms(15), ms(5), Rhythm::default());
        Plan::stay(Basis::Cooldown)
            .then(Rung::Park(ParkLevel::Ram), ms(10))
            .with_prewake((idle.service == ServiceId(1)).then_some(prewake))
    }
}

#[test]
fn nobody_is_moved_to_disk_who_is_expected_before_it_could_be_restored() {
    let mut scheduler = Scheduler::with_policy(&node(100), Expecting);
    let mut tell = |millis, event| -> Vec<Action> {
        let mut out = Vec::new();
        scheduler.handle(Timestamp::from_millis(millis), event, &mut out);
        scheduler.check_invariants().expect("no event breaks a rule");
        out
    };
    let answer = |tell: &mut dyn FnMut(u64, Event) -> Vec<Action>, millis, actions: Vec<Action>| {
        actions
            .into_iter()
            .flat_map(|action| {
                let service = action.service;
                match action.command {
                    Command::Start { instance, epoch, .. } => tell(
                        millis,
                        Event::InstanceReady {
                            service,
                            instance,
                            epoch,
                        },
                    ),
                    Command::Park { instance, epoch, .. } => tell(
                        millis,
                        Event::InstanceParked {
                            service,
                            instance,
                            epoch,
                            written_bytes: 0,
                        },
                    ),
                    _ => Vec::new(),
                }
            })
            .collect::<Vec<_>>()
    };
    let request = RequestId(1);
    for id in 1..=2 {
        let service = ServiceId(id);
        let config = crate::cluster::service(0, 40 * MIB).validate().expect("valid");
        tell(0, Event::ServiceConfigured { service, config });
        let start = tell(0, Event::RequestQueued { service, request });
        answer(&mut tell, 0, start);
        tell(0, Event::RequestDone { service, request });
    }
    let parks = tell(10, Event::Tick);
    assert_eq!(parks.len(), 2);
    answer(&mut tell, 10, parks);
    let service = ServiceId(3);
    let config = crate::cluster::service(0, 40 * MIB).validate().expect("valid");
    tell(10, Event::ServiceConfigured { service, config });
    let moved = tell(10, Event::RequestQueued { service, request });
    // The first one is as little used and came first.
    let moved: Vec<_> = moved
        .iter()
        .map(|action| (action.service, action.reason.to_string()))
        .collect();
    assert_eq!(
        moved,
        [(
            ServiceId(2),
            String::from("memory of node 0 is short, frees 40 MiB")
        )]
    );
}
