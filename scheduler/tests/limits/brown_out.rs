//! What a node does without whose memory goes, as its owner measures it.

use scheduler::{BrownOut, Event, NodeConfig, NodeId, ParkLevel, ServiceId, Settings, Timestamp};

use crate::cluster::{Cluster, MIB, ms, service};
use crate::memory::{asleep, node};

#[test]
fn a_brown_out_does_without_one_thing_after_the_other() {
    let mut cluster = asleep(&Settings::default());
    let mut pressure = |available| {
        cluster.tell(Event::MemoryPressure {
            node: NodeId(0),
            available_bytes: available * MIB,
        });
        let view = cluster.scheduler.node(NodeId(0)).expect("it is up");
        (view.brown_out, cluster.parks.len())
    };
    assert_eq!(pressure(200), (BrownOut::None, 10));
    assert_eq!(pressure(70), (BrownOut::NoPrewakes, 10));
    assert_eq!(pressure(50), (BrownOut::ShortKeep, 10));
    let (step, parks) = pressure(30);
    assert_eq!(step, BrownOut::EvictCache);
    assert_eq!(
        parks, 11,
        "one that sleeps in RAM goes to disk, to have a tenth of the memory available"
    );
    assert_eq!(pressure(10).0, BrownOut::Shed);
    assert_eq!(
        pressure(75).0,
        BrownOut::ShortKeep,
        "it ends well above where it began"
    );
}

/// An instance that has just fallen idle and is kept for 400 ms.
fn idle_for_400_ms() -> Cluster {
    let mut cluster = Cluster::new(&node(1_000));
    let mut config = service(0, 100 * MIB);
    config.cooldown = Some(ms(400));
    cluster.configure(1, config);
    cluster.request(1);
    cluster.progress_all();
    cluster.progress_all();
    cluster
}

#[test]
fn idle_instances_fall_asleep_earlier_and_deeper_while_memory_is_short() {
    let mut cluster = idle_for_400_ms();
    pressure(&mut cluster, 0, 40);
    assert_eq!(
        cluster.scheduler.next_deadline(),
        Some(Timestamp::from_millis(100))
    );
    cluster.wait(ms(100));
    assert_eq!(
        cluster.parks.iter().map(|park| park.2).collect::<Vec<_>>(),
        [ParkLevel::Disk]
    );
}

#[test]
fn memory_that_is_short_again_and_again_shortens_a_keep_time_once() {
    let mut cluster = idle_for_400_ms();
    for available in [60, 200, 60, 200, 60] {
        pressure(&mut cluster, 0, available);
    }
    assert_eq!(
        cluster.scheduler.next_deadline(),
        Some(Timestamp::from_millis(100)),
        "a quarter of it"
    );
}

#[test]
fn at_the_last_step_only_what_is_important_starts() {
    let mut cluster = Cluster::new(&node(1_000));
    for (id, priority) in [(1, 99), (2, 100)] {
        let mut config = service(0, 10 * MIB);
        config.resources.priority = priority;
        cluster.configure(id, config);
    }
    cluster.tell(Event::MemoryPressure {
        node: NodeId(0),
        available_bytes: 15 * MIB,
    });
    let (low, high) = (cluster.request(1), cluster.request(2));
    assert_eq!(
        cluster.shed[&low].reason.to_string(),
        "node 0 has 15 MiB available"
    );
    cluster.progress_all();
    assert!(cluster.admitted.contains_key(&high));
}

fn pressure(cluster: &mut Cluster, node: u64, available_mib: u64) {
    cluster.tell(Event::MemoryPressure {
        node: NodeId(node),
        available_bytes: available_mib * MIB,
    });
}

#[test]
fn what_went_to_disk_counts_as_available_until_it_is_measured_again() {
    let mut cluster = asleep(&Settings::default());
    pressure(&mut cluster, 0, 30);
    assert_eq!(cluster.parks.len(), 11, "80 MiB of the 70 that lack");
    cluster.run(20);
    assert_eq!(cluster.parks.len(), 11);
}

#[test]
fn who_waits_already_is_shed_when_the_last_step_begins() {
    let mut cluster = Cluster::new(&node(1_000));
    let mut config = service(0, 400 * MIB);
    config.resources.priority = 99;
    cluster.configure(1, service(0, 800 * MIB));
    cluster.configure(2, config);
    cluster.request(1);
    let waits = cluster.request(2);
    pressure(&mut cluster, 0, 25);
    assert!(cluster.shed.is_empty(), "a step before it");
    pressure(&mut cluster, 0, 15);
    assert_eq!(
        cluster.shed[&waits].reason.to_string(),
        "node 0 has 15 MiB available"
    );
}

#[test]
fn who_was_kept_from_a_node_without_memory_waits_for_another_once_that_is_gone() {
    let mut cluster = Cluster::new(&node(1_000));
    cluster.configure(1, service(0, 900 * MIB));
    cluster.request(1);
    let first = *cluster.vms.keys().next().expect("it starts");
    cluster.node_up(1, NodeConfig::with_memory(1_000 * MIB));
    pressure(&mut cluster, 1, 15);
    let mut always = service(0, 200 * MIB);
    always.min_instances = 1;
    always.resources.priority = 99;
    cluster.configure(9, always);
    assert_eq!(cluster.starts.len(), 1);
    cluster.node_down(1);
    cluster.exited(first);
    assert!(cluster.vms.values().any(|vm| vm.service == ServiceId(9)));
}

#[test]
fn who_is_kept_from_one_node_by_its_last_step_waits_for_the_memory_of_another() {
    let mut cluster = Cluster::new(&node(1_000));
    cluster.node_up(1, NodeConfig::with_memory(1_000 * MIB));
    cluster.configure(1, service(0, 800 * MIB));
    let mut config = service(0, 400 * MIB);
    config.resources.priority = 99;
    cluster.configure(2, config);
    cluster.request(1);
    let NodeId(full) = cluster.starts[0].node;
    pressure(&mut cluster, 1 - full, 15);
    let waits = cluster.request(2);
    assert!(cluster.shed.is_empty(), "{:?}", cluster.shed);
    cluster.run(40);
    assert!(cluster.admitted.contains_key(&waits), "{:?}", cluster.blocked(2));
    assert_eq!(cluster.starts[1].node, NodeId(full));
}
