use proptest::collection::vec;
use proptest::prelude::*;
use scheduler::{
    Event, InstanceId, LimitsConfig, NodeConfig, NodeId, Phase, RateLimit, ServiceId, Settings, TenantConfig,
    TenantId, Timestamp,
};

use crate::cluster::{Cluster, MIB, Start, ms, service, within};

#[derive(Clone, Debug)]
enum Step {
    Request(u64),
    Progress(usize),
    Dies(usize),
    Wait(u64),
    NodeUp(u64),
    NodeDown(u64),
    Capacity(u64, u64),
    Pressure(u64, u64),
    Measured(usize, u64),
    Tenant(u64, Option<u32>),
    Configure(u64, u64),
    Inventory,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (0..8_u64).prop_map(Step::Request),
        25 => any::<usize>().prop_map(Step::Progress),
        2 => any::<usize>().prop_map(Step::Dies),
        12 => (0..60_u64).prop_map(Step::Wait),
        1 => (0..3_u64).prop_map(Step::NodeUp),
        1 => (0..3_u64).prop_map(Step::NodeDown),
        1 => (0..3_u64, 1..10_u64).prop_map(|(node, size)| Step::Capacity(node, size * 100)),
        2 => (0..3_u64, 0..30_u64).prop_map(|(node, free)| Step::Pressure(node, free * 10)),
        3 => (any::<usize>(), 1..150_u64).prop_map(|(vm, size)| Step::Measured(vm, size)),
        1 => (0..3_u64, proptest::option::of(1..6_u32)).prop_map(|(tenant, max)| Step::Tenant(tenant, max)),
        1 => (0..8_u64, 1..30_u64).prop_map(|(id, size)| Step::Configure(id, size * 10)),
        2 => Just(Step::Inventory),
    ]
}

const STARTS: RateLimit = RateLimit::new(200, 8);
const NODE_STARTS: RateLimit = RateLimit::new(120, 4);
const TENANT_STARTS: RateLimit = RateLimit::new(60, 3);

fn node() -> NodeConfig {
    NodeConfig {
        starts: Some(NODE_STARTS),
        park_bytes: Some(RateLimit::new(20_000 * MIB, 200 * MIB)),
        ..NodeConfig::with_memory(900 * MIB)
    }
}

fn settings(seed: u64) -> Settings {
    Settings {
        limits: LimitsConfig {
            starts: Some(STARTS),
            node: node(),
            reserve_after: ms(100),
            reserve_for: ms(300),
            jitter_permille: 100,
            seed,
            ..LimitsConfig::default()
        },
        ..Settings::default()
    }
}

fn tenant(max_instances: Option<u32>) -> TenantConfig {
    TenantConfig {
        max_instances,
        starts: Some(TENANT_STARTS),
        ..TenantConfig::default()
    }
}

fn pick(cluster: &Cluster, choice: usize) -> Option<InstanceId> {
    let count = cluster.vms.len();
    cluster.vms.keys().nth(choice.checked_rem(count)?).copied()
}

struct World {
    cluster: Cluster,
    down: [bool; 3],
    /// A node that was away begins anew.
    was_down: [bool; 3],
    /// Most instances of each tenant.
    quotas: [Option<u32>; 3],
    /// Whether a node may be fuller than it is large: it became smaller, or an instance grew.
    strained: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut cluster = Cluster::new(&settings(seed));
        cluster.node_up(1, node());
        for id in 0..8 {
            let mut config = service(id % 3, (20 + id * 30) * MIB);
            config.min_instances = u32::from(id == 1);
            config.resources.priority = u8::try_from(id * 30).expect("small");
            cluster.configure(id, config);
        }
        cluster.tell(Event::TenantConfigured {
            tenant: TenantId(2),
            config: tenant(Some(3)),
        });
        Self {
            cluster,
            down: [false, false, true],
            was_down: [false; 3],
            quotas: [None, None, Some(3)],
            strained: false,
        }
    }

    fn step(&mut self, step: Step) {
        let cluster = &mut self.cluster;
        match step {
            Step::Request(id) => {
                cluster.request(id);
            }
            Step::Progress(choice) => {
                if let Some(vm) = pick(cluster, choice) {
                    cluster.progress(vm);
                }
            }
            Step::Dies(choice) => {
                if let Some(vm) = pick(cluster, choice) {
                    cluster.exited(vm);
                }
            }
            Step::Wait(millis) => cluster.wait(ms(millis)),
            Step::NodeUp(id) => {
                if std::mem::take(&mut self.down[usize::try_from(id).expect("small")]) {
                    cluster.node_up(id, node());
                }
            }
            Step::NodeDown(id) => {
                let down = &mut self.down[usize::try_from(id).expect("small")];
                if !std::mem::replace(down, true) {
                    self.was_down[usize::try_from(id).expect("small")] = true;
                    cluster.node_down(id);
                }
            }
            Step::Pressure(id, free) => cluster.tell(Event::MemoryPressure {
                node: NodeId(id),
                available_bytes: free * MIB,
            }),
            Step::Tenant(id, max_instances) => {
                self.quotas[usize::try_from(id).expect("small")] = max_instances;
                cluster.tell(Event::TenantConfigured {
                    tenant: TenantId(id),
                    config: tenant(max_instances),
                });
            }
            Step::Inventory => cluster.inventory(),
            // The three after which more may be in use than there is; only invariants are checked from then on.
            Step::Capacity(..) | Step::Measured(..) | Step::Configure(..) if !self.strained => {}
            Step::Capacity(id, size) => cluster.tell(Event::NodeCapacity {
                node: NodeId(id),
                memory_bytes: Some(size * MIB),
            }),
            Step::Measured(choice, size) => {
                if let Some(instance) = pick(cluster, choice) {
                    let service = cluster.vms[&instance].service;
                    cluster.tell(Event::InstanceMemory {
                        service,
                        instance,
                        resident_bytes: size * MIB,
                        dirty_bytes: size * MIB / 3,
                    });
                }
            }
            Step::Configure(id, size) => {
                let config = service((id + size) % 3, size * MIB);
                cluster.configure(id, config);
            }
        }
    }

    /// Everything there is works and nobody comes any more.
    fn calm(&mut self) {
        let cluster = &mut self.cluster;
        for id in 0..3 {
            cluster.node_up(id, node());
            cluster.tell(Event::TenantConfigured {
                tenant: TenantId(id),
                config: tenant(Some(3)),
            });
            cluster.tell(Event::MemoryPressure {
                node: NodeId(id),
                available_bytes: 900 * MIB,
            });
        }
        for _ in 0..400 {
            cluster.wait(ms(10));
            cluster.progress_all();
        }
    }
}

fn times(starts: &[Start], of: impl Fn(&Start) -> bool) -> Vec<Timestamp> {
    starts
        .iter()
        .filter(|start| of(start))
        .map(|start| start.at)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_limit_is_exceeded_and_every_request_ends(seed in any::<u64>(), steps in vec(step(), 1..250)) {
        let mut world = World::new(seed);
        for step in steps {
            let awake = |world: &World| [0, 1, 2].map(|tenant| world.cluster.awake(tenant));
            let before = awake(&world);
            world.step(step);
            for ((awake, before), quota) in awake(&world).into_iter().zip(before).zip(world.quotas) {
                let most = quota.map_or(usize::MAX, |quota| usize::try_from(quota).expect("small"));
                prop_assert!(awake <= before.max(most), "{awake} of {most}");
            }
        }
        world.calm();
        let cluster = &world.cluster;
        prop_assert!(cluster.waiting.is_empty(), "{:?}", cluster.waiting.values().map(|id| cluster.scheduler.why(*id).unwrap().to_string()).collect::<Vec<_>>());
        let starts = &cluster.starts;
        prop_assert!(within(&times(starts, |_| true), STARTS.per_second, STARTS.burst));
        for (node, was_down) in (0..).zip(world.was_down) {
            let there = times(starts, |start| start.node == NodeId(node));
            prop_assert!(was_down || within(&there, NODE_STARTS.per_second, NODE_STARTS.burst));
        }
        let of = times(starts, |start| start.tenant == TenantId(2));
        prop_assert!(within(&of, TENANT_STARTS.per_second, TENANT_STARTS.burst));
        prop_assert!(cluster.vms.values().filter(|vm| vm.phase != Phase::Parked).count() <= 1);
    }

    #[test]
    fn growth_and_smaller_nodes_break_no_rule(seed in any::<u64>(), steps in vec(step(), 1..250)) {
        let mut world = World::new(seed);
        world.strained = true;
        let mut cluster = std::mem::replace(&mut world.cluster, Cluster::new(&settings(0)));
        cluster.forgive();
        world.cluster = cluster;
        for step in steps {
            world.step(step);
        }
        world.calm();
        let waiting = &world.cluster.waiting;
        prop_assert!(waiting.is_empty(), "{waiting:?}");
    }

    #[test]
    fn the_same_events_give_the_same_actions(seed in any::<u64>(), steps in vec(step(), 1..120)) {
        let run = |steps: &[Step]| {
            let mut world = World::new(seed);
            steps.iter().for_each(|step| world.step(step.clone()));
            let starts: Vec<_> = world.cluster.starts.iter().map(|start| (start.at, start.instance, start.node)).collect();
            (starts, format!("{:?}", world.cluster.scheduler.why(ServiceId(3))))
        };
        prop_assert_eq!(run(&steps), run(&steps));
    }
}
