//! What a node does without whose memory goes, as its owner measures it.

use scheduler::{BrownOut, Event, NodeId, ParkLevel, Settings, Timestamp};

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

#[test]
fn idle_instances_fall_asleep_earlier_and_deeper_while_memory_is_short() {
    let mut cluster = Cluster::new(&node(1_000));
    let mut config = service(0, 100 * MIB);
    config.cooldown = Some(ms(400));
    cluster.configure(1, config);
    cluster.request(1);
    cluster.progress_all();
    cluster.progress_all();
    cluster.tell(Event::MemoryPressure {
        node: NodeId(0),
        available_bytes: 40 * MIB,
    });
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
    let mut cluster = Cluster::new(&node(1_000));
    let mut config = service(0, 100 * MIB);
    config.cooldown = Some(ms(400));
    cluster.configure(1, config);
    cluster.request(1);
    cluster.progress_all();
    cluster.progress_all();
    for available in [60, 200, 60, 200, 60] {
        cluster.tell(Event::MemoryPressure {
            node: NodeId(0),
            available_bytes: available * MIB,
        });
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
