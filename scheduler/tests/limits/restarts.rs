use scheduler::{
    Command, Event, InstanceId, LimitsConfig, NodeConfig, Restart, ServiceConfig, ServiceId, Settings,
    StartKind, StartSource,
};

use crate::cluster::{Cluster, at, ms, service};

/// One instance that is to be awake always.
fn kept(restart: Restart) -> Cluster {
    let mut cluster = Cluster::new(&Settings::default());
    let mut config = service(0, 0);
    config.min_instances = 1;
    config.start.restart = restart;
    cluster.configure(1, config);
    cluster.progress_all();
    cluster
}

fn finished(cluster: &mut Cluster) {
    let (&instance, vm) = cluster.vms.first_key_value().expect("it runs");
    let (service, epoch) = (vm.service, vm.epoch);
    cluster.vms.remove(&instance);
    cluster.tell(Event::InstanceFinished {
        service,
        instance,
        epoch,
    });
    cluster.wait(ms(100));
}

fn died(cluster: &mut Cluster) {
    let instance = *cluster.vms.keys().next().expect("it runs");
    cluster.exited(instance);
    cluster.wait(ms(100));
}

#[test]
fn always_replaces_an_instance_however_it_ended_after_a_pause() {
    let mut cluster = kept(Restart::Always);
    finished(&mut cluster);
    died(&mut cluster);
    let starts: Vec<_> = cluster.starts.iter().map(|start| start.at).collect();
    assert_eq!(starts, [at(0), at(10), at(120)]);
}

#[test]
fn on_failure_replaces_only_one_that_died() {
    let mut cluster = kept(Restart::OnFailure);
    died(&mut cluster);
    assert_eq!(cluster.starts.len(), 2);
    cluster.progress_all();
    finished(&mut cluster);
    assert_eq!(cluster.starts.len(), 2);
    cluster.request(1);
    assert_eq!(cluster.starts.len(), 3, "a request starts what it needs");
}

#[test]
fn never_replaces_nothing_until_it_is_configured_again() {
    let mut cluster = kept(Restart::Never);
    died(&mut cluster);
    assert_eq!(cluster.starts.len(), 1);
    let again = cluster.configs[&ServiceId(1)].clone();
    cluster.configure(1, again);
    assert_eq!(cluster.starts.len(), 2);
}

/// Fails what starts.
fn fail(cluster: &mut Cluster) -> Option<(InstanceId, StartKind)> {
    let (&instance, vm) = cluster
        .vms
        .iter()
        .find(|(_, vm)| vm.phase == scheduler::Phase::Starting)?;
    let (service, epoch, kind) = (vm.service, vm.epoch, vm.kind);
    cluster.vms.remove(&instance);
    cluster.tell(Event::InstanceFailed {
        service,
        instance,
        epoch,
    });
    Some((instance, kind))
}

fn from_snapshot() -> ServiceConfig {
    let mut config = service(0, 0);
    config.start_from = StartSource::Snapshot;
    config.start.attempts = 2;
    config.start.retry_first = ms(100);
    config
}

/// What kind of start each of so many more requests leads to.
fn kinds(cluster: &mut Cluster, requests: u64) -> Vec<StartKind> {
    let before = cluster.vms.clone();
    for _ in 0..requests {
        cluster.request(1);
    }
    let new = cluster.vms.iter().filter(|(id, _)| !before.contains_key(id));
    new.map(|(_, vm)| vm.kind).collect()
}

#[test]
fn a_snapshot_that_fails_again_and_again_is_left_alone_and_then_tried_by_one() {
    let mut cluster = Cluster::new(&Settings::default());
    cluster.configure(1, from_snapshot());
    assert_eq!(kinds(&mut cluster, 2), [StartKind::Restore, StartKind::Restore]);
    for _ in 0..2 {
        assert_eq!(fail(&mut cluster).map(|(_, kind)| kind), Some(StartKind::Restore));
    }
    cluster.progress_all();
    assert!(
        cluster.vms.values().all(|vm| vm.kind == StartKind::Boot),
        "both were booted"
    );
    assert_eq!(kinds(&mut cluster, 2), [StartKind::Boot, StartKind::Boot], "open");
    cluster.wait(ms(200));
    assert_eq!(
        kinds(&mut cluster, 2),
        [StartKind::Restore, StartKind::Boot],
        "half open"
    );
    cluster.progress_all();
    let closed = kinds(&mut cluster, 12);
    assert!(
        closed.len() > 2 && closed.iter().all(|kind| *kind == StartKind::Restore),
        "{closed:?}"
    );
}

#[test]
fn where_the_one_that_tries_is_lost_with_its_node_another_one_tries() {
    let mut cluster = Cluster::new(&Settings::default());
    cluster.configure(1, from_snapshot());
    kinds(&mut cluster, 2);
    fail(&mut cluster);
    fail(&mut cluster);
    cluster.progress_all();
    cluster.wait(ms(200));
    assert_eq!(kinds(&mut cluster, 1), [StartKind::Restore], "it tries");
    cluster.node_down(0);
    cluster.waiting.clear();
    cluster.node_up(1, NodeConfig::default());
    cluster.wait(ms(1_000));
    let kinds: Vec<_> = cluster.vms.values().map(|vm| vm.kind).collect();
    assert!(kinds.contains(&StartKind::Restore), "{kinds:?}");
}

#[test]
fn nothing_falls_asleep_that_could_not_be_woken() {
    let mut cluster = Cluster::new(&Settings::default());
    let mut config = from_snapshot();
    config.max_instances = 1;
    cluster.configure(1, config);
    cluster.request(1);
    cluster.run(20);
    for failures in 1..=2 {
        assert_eq!(cluster.parks.len(), failures, "it sleeps");
        cluster.request(1);
        fail(&mut cluster).expect("it is woken");
        cluster.run(20);
    }
    // The wake failed twice in a row: what was booted instead stays awake for the pause of 200 ms.
    cluster.run(170);
    assert_eq!(cluster.parks.len(), 2);
    cluster.run(20);
    assert_eq!(cluster.parks.len(), 3);
}

#[test]
fn a_service_that_cannot_start_is_tried_by_one_instance_at_a_time() {
    let mut cluster = Cluster::new(&Settings::default());
    let mut config = service(0, 0);
    config.start.attempts = 2;
    cluster.configure(1, config);
    for _ in 0..5 {
        cluster.request(1);
    }
    assert_eq!(cluster.starts.len(), 5);
    while fail(&mut cluster).is_some() {}
    assert_eq!(cluster.shed.len(), 5);
    for _ in 0..5 {
        cluster.request(1);
    }
    cluster.wait(ms(1_000));
    assert_eq!(cluster.starts.len(), 6, "one finds out");
    cluster.progress_all();
    cluster.progress_all();
    assert_eq!(
        cluster.starts.len(),
        9,
        "it works: starts follow for the three that still wait"
    );
}

#[test]
fn pauses_of_services_that_failed_together_end_at_different_times() {
    let run = |seed| {
        let settings = Settings {
            limits: LimitsConfig {
                jitter_permille: 500,
                seed,
                ..LimitsConfig::default()
            },
            ..Settings::default()
        };
        let mut cluster = Cluster::new(&settings);
        for id in 0..20 {
            cluster.configure(id, service(0, 0));
            cluster.request(id);
        }
        while fail(&mut cluster).is_some() {}
        cluster.wait(ms(100));
        let again: Vec<_> = cluster.starts[20..].iter().map(|start| start.at).collect();
        assert!(
            again.iter().all(|start| *start >= at(10) && *start <= at(15)),
            "{again:?}"
        );
        again
    };
    let first = run(1);
    let distinct: std::collections::BTreeSet<_> = first.iter().collect();
    assert!(distinct.len() >= 15, "{first:?}");
    assert_eq!(first, run(1), "the same seed, the same times");
    assert_ne!(first, run(2));
}

#[test]
fn a_start_says_where() {
    let mut cluster = Cluster::new(&Settings::default());
    cluster.configure(1, service(0, 0));
    let mut out = Vec::new();
    let event = Event::RequestQueued {
        service: ServiceId(1),
        request: scheduler::RequestId(77),
    };
    cluster.scheduler.handle(cluster.now, event, &mut out);
    let node = out.iter().find_map(|action| match action.command {
        Command::Start { node, .. } => Some(node),
        _ => None,
    });
    assert_eq!(node, Some(scheduler::NodeId(0)));
}
