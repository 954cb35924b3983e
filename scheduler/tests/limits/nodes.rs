use scheduler::{Event, LimitsConfig, NodeConfig, NodeId, RateLimit, ServiceId, Settings};

use crate::cluster::{Cluster, MIB, ms, service, within};

fn cluster(nodes: u64, starts: Option<RateLimit>) -> Cluster {
    let config = NodeConfig::with_memory(1_000 * MIB);
    let settings = Settings {
        limits: LimitsConfig {
            starts,
            node: config.clone(),
            ..LimitsConfig::default()
        },
        ..Settings::default()
    };
    let mut cluster = Cluster::new(&settings);
    for id in 1..nodes {
        cluster.node_up(id, config.clone());
    }
    cluster
}

#[test]
fn a_service_stays_where_its_snapshot_is_until_there_is_no_room() {
    let mut cluster = cluster(3, None);
    cluster.configure(1, service(0, 200 * MIB));
    for _ in 0..10 {
        cluster.request(1);
    }
    let nodes: Vec<_> = cluster.starts.iter().map(|start| start.node).collect();
    assert!(nodes[..4].iter().all(|node| *node == nodes[0]), "{nodes:?}");
    assert!(
        nodes[4..8]
            .iter()
            .all(|node| *node == nodes[4] && *node != nodes[0]),
        "{nodes:?}"
    );
}

#[test]
fn a_sleeping_instance_wakes_where_it_sleeps() {
    let mut cluster = cluster(4, None);
    for id in 0..20 {
        cluster.configure(id, service(0, 100 * MIB));
        cluster.request(id);
    }
    cluster.run(30);
    let first: Vec<_> = cluster
        .starts
        .iter()
        .map(|start| (start.instance, start.node))
        .collect();
    for id in 0..20 {
        cluster.request(id);
    }
    let again: Vec<_> = cluster.starts[20..]
        .iter()
        .map(|start| (start.instance, start.node))
        .collect();
    assert_eq!(first, again);
}

#[test]
fn what_a_lost_node_had_starts_elsewhere_at_the_rate() {
    let rate = RateLimit::new(50, 2);
    let mut cluster = cluster(2, Some(rate));
    for id in 0..12 {
        let mut config = service(0, 50 * MIB);
        config.min_instances = 1;
        config.cooldown = None;
        cluster.configure(id, config);
    }
    cluster.run(1_000);
    let lost = cluster.vms.values().filter(|vm| vm.node == NodeId(0)).count();
    assert!(lost > 0);
    let before = cluster.starts.len();
    cluster.node_down(0);
    assert!(cluster.starts.len() <= before + 2, "not all at once");
    cluster.run(1_000);
    assert_eq!(cluster.starts.len(), before + lost);
    assert!(cluster.vms.values().all(|vm| vm.node == NodeId(1)));
    let times: Vec<_> = cluster.starts.iter().map(|start| start.at).collect();
    assert!(within(&times, 50, 2));
    let why = cluster.scheduler.why(ServiceId(0)).expect("it is configured");
    assert_eq!(why.failures, 0, "the service has done nothing wrong");
}

/// A node that starts so many a second, and one request for each of so many services.
fn herd(starts: RateLimit, services: u64) -> (Cluster, NodeConfig) {
    let node = NodeConfig {
        starts: Some(starts),
        ..NodeConfig::default()
    };
    let settings = Settings {
        limits: LimitsConfig {
            node: node.clone(),
            ..LimitsConfig::default()
        },
        ..Settings::default()
    };
    let mut cluster = Cluster::new(&settings);
    for id in 0..services {
        cluster.configure(id, service(0, 0));
        cluster.request(id);
    }
    (cluster, node)
}

#[test]
fn a_node_that_comes_and_goes_has_one_burst_and_is_full_again_after_a_pause() {
    let (mut cluster, node) = herd(RateLimit::new(50, 10), 200);
    for _ in 0..10 {
        cluster.wait(ms(20));
        cluster.node_down(0);
        cluster.wait(ms(20));
        cluster.node_up(0, node.clone());
    }
    let times: Vec<_> = cluster.starts.iter().map(|start| start.at).collect();
    assert!(within(&times, 50, 10), "{times:?}");
    assert_eq!(times.len(), 10 + 20, "the burst, and 400 ms at the rate");
    cluster.node_down(0);
    cluster.wait(ms(1_000));
    cluster.node_up(0, node);
    assert_eq!(cluster.starts.len(), 30 + 10, "an outage is a pause too");
}

#[test]
fn starts_under_way_when_a_scheduler_takes_over_are_counted() {
    let rate = RateLimit::new(50, 10);
    let (before, _) = herd(rate, 8);
    let (mut after, _) = herd(rate, 0);
    (after.vms, after.waiting, after.requests) = (before.vms, before.waiting, before.requests);
    for id in 0..12 {
        after.configure(id, service(0, 0));
    }
    after.inventory();
    for id in 8..12 {
        after.request(id);
    }
    assert_eq!(after.starts.len(), 2, "what is left of the burst");
}

#[test]
fn requests_wait_while_there_is_no_node_and_go_on_when_there_is() {
    let mut cluster = cluster(1, None);
    cluster.configure(1, service(0, 50 * MIB));
    cluster.node_down(0);
    let request = cluster.request(1);
    assert_eq!(cluster.blocked(1).as_deref(), Some("there is no node"));
    cluster.wait(ms(50));
    cluster.node_up(5, NodeConfig::default());
    cluster.progress_all();
    assert!(cluster.admitted.contains_key(&request));
    assert!(cluster.scheduler.node(NodeId(0)).is_none());
}

#[test]
fn a_smaller_node_gets_nothing_new_until_there_is_room_again() {
    let mut cluster = cluster(1, None);
    cluster.forgive();
    for id in 0..6 {
        cluster.configure(id, service(0, 200 * MIB));
    }
    for id in 0..4 {
        cluster.request(id);
    }
    cluster.tell(Event::NodeCapacity {
        node: NodeId(0),
        memory_bytes: Some(500 * MIB),
    });
    let request = cluster.request(5);
    assert_eq!(cluster.starts.len(), 4);
    cluster.run(60);
    assert!(
        cluster.admitted.contains_key(&request),
        "the others fell asleep, and on disk"
    );
    assert!(cluster.used(NodeId(0)) <= 500 * MIB);
}

#[test]
fn a_late_tick_serves_as_many_as_there_are_tokens() {
    let config = NodeConfig {
        starts: Some(RateLimit::new(100, 50)),
        ..NodeConfig::default()
    };
    let mut cluster = Cluster::new(&Settings {
        limits: LimitsConfig {
            node: config,
            ..LimitsConfig::default()
        },
        ..Settings::default()
    });
    for id in 0..100 {
        cluster.configure(id, service(0, MIB));
        cluster.request(id);
    }
    assert_eq!(cluster.starts.len(), 50, "the burst");
    cluster.now = cluster.now + ms(1_000);
    cluster.tell(Event::Tick);
    assert_eq!(cluster.starts.len(), 100);
}

#[test]
fn what_became_free_goes_to_all_it_is_enough_for() {
    let mut cluster = cluster(1, None);
    cluster.forgive();
    cluster.configure(0, service(0, 900 * MIB));
    cluster.request(0);
    // A large one first, and small ones behind it.
    cluster.configure(1, service(0, 900 * MIB));
    cluster.request(1);
    for id in 2..42 {
        cluster.configure(id, service(0, 10 * MIB));
        cluster.request(id);
    }
    assert_eq!(cluster.starts.len(), 1);
    cluster.tell(Event::NodeCapacity {
        node: NodeId(0),
        memory_bytes: Some(1_500 * MIB),
    });
    assert_eq!(cluster.starts.len(), 41, "all but the large one");
}

#[test]
fn a_node_that_was_lost_and_is_back_is_a_node_like_others() {
    let mut cluster = cluster(1, None);
    for id in 0..20 {
        cluster.configure(id, service(0, 10 * MIB));
        cluster.request(id);
    }
    cluster.run(5);
    let config = NodeConfig::with_memory(1_000 * MIB);
    cluster.node_up(1, config.clone());
    cluster.node_down(0);
    cluster.node_up(0, config);
    for id in 0..20 {
        cluster.request(id);
    }
    let there = cluster.vms.values().filter(|vm| vm.node == NodeId(0)).count();
    assert!((5..=15).contains(&there), "its snapshots are gone: {there} of 20");
}

#[test]
fn a_large_start_has_memory_kept_elsewhere_once_the_node_is_lost_where_it_was() {
    for lost in [0, 1] {
        let mut cluster = cluster(2, None);
        for id in 0..40 {
            cluster.configure(id, service(0, 100 * MIB));
        }
        for id in 0..18 {
            cluster.request(id);
        }
        cluster.configure(99, service(1, 700 * MIB));
        let large = cluster.request(99);
        cluster.wait(ms(2_000));
        cluster.node_down(lost);
        // Small ones come and end all the time.
        for step in 0..100 {
            cluster.request(step % 40);
            cluster.wait(ms(10));
            if step % 4 == 0 {
                cluster.progress_all();
            }
        }
        assert!(cluster.admitted.contains_key(&large), "node {lost} was lost");
    }
}
