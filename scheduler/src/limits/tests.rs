use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::ids::{NodeId, ServiceId, TenantId};
use crate::time::Timestamp;

const MIB: u64 = 1 << 20;

/// Services around a gate: each wants so many starts, and what was started runs until it is ended.
struct World {
    gate: Gate,
    now: Timestamp,
    wants: BTreeMap<ServiceId, (Ask, u32)>,
    running: Vec<(ServiceId, TenantId, NodeId, Charge)>,
    /// When what was started, where and for whom.
    started: Vec<(Timestamp, NodeId, TenantId, ServiceId)>,
}

impl World {
    fn new(config: &LimitsConfig) -> Self {
        Self {
            gate: Gate::new(config),
            now: Timestamp::ZERO,
            wants: BTreeMap::new(),
            running: Vec::new(),
            started: Vec::new(),
        }
    }

    fn ask(service: u64, tenant: u64, bytes: u64) -> Ask {
        Ask {
            service: ServiceId(service),
            tenant: TenantId(tenant),
            priority: 100,
            purpose: Purpose::New,
            spot: Spot::Near(None),
            bytes,
            held_bytes: 0,
        }
    }

    fn want(&mut self, ask: Ask) {
        match self.gate.admit(&ask, self.now) {
            Ok(node) => self.start(ask, node),
            Err(_) => {
                self.wants.entry(ask.service).or_insert((ask, 0)).1 += 1;
                self.gate.wait(&ask, self.now);
                self.pump();
            }
        }
    }

    fn start(&mut self, ask: Ask, node: NodeId) {
        self.gate.started(&ask, node, self.now);
        let charge = Charge {
            class: Class::Burst,
            bytes: ask.bytes,
            starting: false,
        };
        self.gate.charge(ask.tenant, node, (None, Some(charge)), self.now);
        self.running.push((ask.service, ask.tenant, node, charge));
        self.started.push((self.now, node, ask.tenant, ask.service));
    }

    fn end(&mut self, choice: usize) {
        if self.running.is_empty() {
            return;
        }
        let (_, tenant, node, charge) = self.running.remove(choice % self.running.len());
        self.gate.charge(tenant, node, (Some(charge), None), self.now);
        self.pump();
    }

    fn pump(&mut self) {
        loop {
            let wants = &mut self.wants;
            let next = self.gate.next(self.now, &mut |_, service| {
                wants.get(&service).map(|(ask, _)| *ask)
            });
            let Some(Next::Start(Ticket { service, .. }, node)) = next else {
                break;
            };
            let (ask, left) = wants.get_mut(&service).expect("it wants something");
            let ask = *ask;
            *left -= 1;
            if *left == 0 {
                wants.remove(&service);
            }
            self.start(ask, node);
        }
    }

    /// Time passes; the gate is asked whenever it wants to be.
    fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.gate.next_alarm().filter(|at| *at <= end) {
            assert!(at > self.now, "an alarm is in the future");
            self.now = at;
            self.pump();
        }
        self.now = end;
        self.pump();
    }

    fn used(&self, node: u64) -> u64 {
        self.gate.nodes.find(NodeId(node)).map_or(0, node::Node::used)
    }
}

fn limited() -> LimitsConfig {
    LimitsConfig {
        starts: Some(RateLimit::new(100, 5)),
        node: NodeConfig {
            starts: Some(RateLimit::new(60, 3)),
            high_water_percent: 100,
            ..NodeConfig::with_memory(1_000 * MIB)
        },
        ..LimitsConfig::default()
    }
}

/// One node with so much memory, all of which new instances may have.
fn with_memory(memory_bytes: u64) -> LimitsConfig {
    LimitsConfig {
        node: NodeConfig {
            high_water_percent: 100,
            ..NodeConfig::with_memory(memory_bytes)
        },
        ..LimitsConfig::default()
    }
}

fn within(times: &[Timestamp], limit: RateLimit) -> bool {
    times.iter().enumerate().all(|(first, from)| {
        times[first..].iter().zip(1_u64..).all(|(to, count)| {
            let earned = u128::from(limit.per_second) * to.saturating_since(*from).as_nanos();
            u128::from(count) * 1_000_000_000 <= u128::from(limit.burst) * 1_000_000_000 + earned
        })
    })
}

#[test]
fn without_limits_nobody_waits() {
    let mut world = World::new(&LimitsConfig::default());
    for service in 0..1_000 {
        world.want(World::ask(service, service % 7, 500 * MIB));
    }
    assert_eq!(world.started.len(), 1_000);
    assert!(world.gate.is_quiet());
}

#[test]
fn the_time_of_a_herd_is_its_size_by_the_rate() {
    let mut world = World::new(&LimitsConfig {
        starts: Some(RateLimit::new(1_000, 10)),
        ..LimitsConfig::default()
    });
    for service in 0..10_000 {
        world.want(World::ask(service, 0, 0));
    }
    world.wait(Duration::from_millis(9_989));
    assert_eq!(world.started.len(), 9_999);
    world.wait(Duration::from_millis(1));
    assert_eq!(world.started.len(), 10_000);
    let order: Vec<_> = world.started.iter().map(|start| start.3.0).collect();
    assert!(order.is_sorted(), "nobody loses its place");
}

#[test]
fn a_large_one_is_passed_for_a_while_and_then_has_memory_kept_for_it() {
    let config = with_memory(100 * MIB);
    let mut world = World::new(&config);
    for service in 0..10 {
        world.want(World::ask(service, 1, 10 * MIB));
    }
    world.want(World::ask(99, 2, 60 * MIB));
    // Small ones come and go all the time.
    for round in 0..300 {
        world.want(World::ask(100 + round, 1, 10 * MIB));
        world.end(0);
        world.wait(Duration::from_millis(10));
        if let Some(start) = world.started.iter().find(|start| start.3 == ServiceId(99)) {
            let waited = start.0.saturating_since(Timestamp::ZERO);
            assert!(waited >= config.reserve_after, "others passed it: {waited:?}");
            assert!(
                waited < config.reserve_after + Duration::from_millis(100),
                "{waited:?}"
            );
            return;
        }
    }
    panic!("the large one never started");
}

#[test]
fn a_small_one_takes_what_is_enough_for_it_however_many_large_ones_came_before() {
    let mut world = World::new(&with_memory(100 * MIB));
    for service in 0..10 {
        world.want(World::ask(service, 1, 10 * MIB));
    }
    for service in 10..30 {
        world.want(World::ask(service, 2, 60 * MIB));
    }
    for service in 30..35 {
        world.want(World::ask(service, 3, 20 * MIB));
    }
    world.want(World::ask(99, 3, 10 * MIB));
    world.end(0);
    assert_eq!(world.started.last().expect("some").3, ServiceId(99));
    world.end(0);
    world.end(0);
    assert_eq!(
        world.started.last().expect("some").3,
        ServiceId(30),
        "in their order"
    );
}

#[test]
fn what_a_tenant_may_have_concerns_nobody_else_who_is_stranded() {
    let mut world = World::new(&with_memory(100 * MIB));
    for service in 0..10 {
        world.want(World::ask(service, service % 2, 200 * MIB));
    }
    assert_eq!(
        (world.gate.rotation.waiting(), world.gate.aside.waiting()),
        (0, 10)
    );
    world
        .gate
        .configure_tenant(TenantId(1), TenantConfig::default(), world.now);
    assert_eq!(
        (world.gate.rotation.waiting(), world.gate.aside.waiting()),
        (5, 5)
    );
    world.pump();
    assert!(!world.gate.node_down(NodeId(7), world.now), "it was never there");
    assert_eq!(world.gate.rotation.waiting(), 0);
}

/// Half of each node is busy for ever.
fn half_busy(nodes: u64) -> World {
    let mut world = World::new(&with_memory(100 * MIB));
    for id in 1..nodes {
        let config = world.gate.config.node.clone();
        world.gate.node_up(NodeId(id), config, world.now);
    }
    for service in 0..nodes {
        let long = Ask {
            spot: Spot::Near(Some(NodeId(service))),
            ..World::ask(service, 0, 50 * MIB)
        };
        world.want(long);
    }
    world
}

#[test]
fn what_is_kept_in_vain_is_others_for_half_of_the_time() {
    let mut world = half_busy(1);
    for service in 10..20 {
        world.want(World::ask(service, 1, 60 * MIB));
    }
    world.wait(Duration::from_secs(1));
    let (mut longest, small) = (Duration::ZERO, World::ask(99, 2, 10 * MIB));
    for _ in 0..10 {
        let (asked_at, before) = (world.now, world.started.len());
        world.want(small);
        for _ in 0..200 {
            if world.started.len() == before {
                world.wait(Duration::from_millis(100));
            }
        }
        longest = longest.max(world.now.saturating_since(asked_at));
        world.end(world.running.len() - 1);
        world.wait(Duration::from_secs(3));
    }
    assert_eq!(longest, world.gate.config.reserve_for);
    // Once there is enough, what is kept is had within one more pause.
    world.end(0);
    world.wait(world.gate.config.reserve_for);
    assert_eq!(world.running[0].3.bytes, 60 * MIB);
}

#[test]
fn a_tenant_has_memory_kept_on_one_node_at_a_time() {
    let mut world = half_busy(3);
    for service in 0..3 {
        world.want(Ask {
            purpose: Purpose::Wake,
            spot: Spot::On(NodeId(service)),
            ..World::ask(10 + service, 1, 60 * MIB)
        });
    }
    world.wait(Duration::from_secs(2));
    let keep = world.gate.nodes.iter().filter(|node| node.kept.is_some());
    assert_eq!(keep.count(), 1);
}

#[test]
fn one_that_fits_nowhere_says_so_and_starts_once_a_node_is_large_enough() {
    let mut world = World::new(&limited());
    let ask = World::ask(1, 0, 2_000 * MIB);
    world.want(ask);
    world.want(World::ask(2, 0, MIB));
    assert_eq!(world.started.len(), 1, "it is in nobody's way");
    assert_eq!(
        alloc::format!("{}", world.gate.why(&ask, world.now)),
        "1.9 GiB needed, the largest node has 1000 MiB: needs a larger node"
    );
    let larger = NodeConfig::with_memory(4_000 * MIB);
    world.gate.node_up(NodeId(7), larger, world.now);
    world.pump();
    assert_eq!(world.started[1].1, NodeId(7));
}

#[test]
fn memory_of_instances_that_are_to_be_awake_is_not_given_away() {
    let config = with_memory(100 * MIB);
    let mut world = World::new(&config);
    let lacking = Lacking {
        tenant: TenantId(1),
        count: 1,
        bytes: 60 * MIB,
    };
    world.gate.reserve(Lacking::default(), lacking);
    let burst = World::ask(1, 0, 50 * MIB);
    assert!(world.gate.admit(&burst, world.now).is_err());
    let min = Ask {
        purpose: Purpose::Min,
        ..World::ask(2, 1, 60 * MIB)
    };
    assert_eq!(world.gate.admit(&min, world.now), Ok(NodeId(0)));
}

fn tenants() -> [TenantConfig; 3] {
    let quota = TenantConfig {
        max_instances: Some(3),
        ..TenantConfig::default()
    };
    let memory = TenantConfig {
        max_memory_bytes: Some(500 * MIB),
        starts: Some(RateLimit::new(20, 2)),
        ..TenantConfig::default()
    };
    [quota, memory, TenantConfig::default()]
}

proptest! {
    #[test]
    fn no_limit_is_ever_exceeded_and_everybody_is_served(
        steps in vec((0..8_u8, 0..12_u64, 1..300_u64, any::<usize>()), 1..150),
    ) {
        let mut world = World::new(&limited());
        let second = NodeConfig {
            starts: Some(RateLimit::new(30, 2)),
            ..NodeConfig::with_memory(600 * MIB)
        };
        world.gate.node_up(NodeId(1), second, world.now);
        for (id, config) in (0..).zip(tenants()) {
            world.gate.configure_tenant(TenantId(id), config, world.now);
        }
        for (step, service, size, choice) in steps {
            match step {
                0..5 => {
                    // A service does not change its size while it waits.
                    let size = 10 + (service * 37) % 290;
                    world.want(World::ask(service, service % 3, size * MIB));
                }
                5..7 => world.end(choice),
                _ => world.wait(Duration::from_millis(size)),
            }
            prop_assert!(world.used(0) <= 1_000 * MIB);
            prop_assert!(world.used(1) <= 600 * MIB);
            let of = |tenant| world.running.iter().filter(move |run| run.1 == TenantId(tenant));
            prop_assert!(of(0).count() <= 3);
            prop_assert!(of(1).map(|run| run.3.bytes).sum::<u64>() <= 500 * MIB);
        }
        // Everybody ends in time: then whoever waits is served, and within a bound that follows from the limits. A
        // turn of the rotation serves all of a kind, each needs a token and memory that one end or a few set free.
        let waiting: u32 = world.wants.values().map(|(_, left)| *left).sum();
        let begin = world.now;
        for _ in 0..=waiting * 20 + 100 {
            world.end(0);
            world.wait(Duration::from_millis(60));
        }
        prop_assert!(world.wants.is_empty(), "{:?} wait, {:?}", world.wants, world.gate);
        let bound = Duration::from_millis(60) * (waiting * 20 + 100);
        let last = world.started.last().map_or(begin, |start| start.0);
        prop_assert!(last.saturating_since(begin) <= bound);
        let times = |on: fn(&(Timestamp, NodeId, TenantId, ServiceId)) -> bool| -> Vec<Timestamp> {
            world.started.iter().filter(|start| on(start)).map(|start| start.0).collect()
        };
        prop_assert!(within(&times(|_| true), RateLimit::new(100, 5)));
        prop_assert!(within(&times(|start| start.1 == NodeId(0)), RateLimit::new(60, 3)));
        prop_assert!(within(&times(|start| start.1 == NodeId(1)), RateLimit::new(30, 2)));
        prop_assert!(within(&times(|start| start.2 == TenantId(1)), RateLimit::new(20, 2)));
        prop_assert_eq!(world.gate.waiting(), 0);
    }
}
