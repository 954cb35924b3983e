//! Events that no owner would send in this order, if at all.

use proptest::collection::vec;
use proptest::prelude::*;
use scheduler::{
    ActionId, Activity, ConnectionId, Epoch, Event, InstanceId, InstanceReport, Inventory, Milli, NodeConfig,
    NodeId, Phase, RequestId, TenantConfig, TenantId, Timestamp,
};

use crate::chaos::{config, configured};
use crate::desk::SERVICE;

/// How many milliseconds pass before it, and the event.
pub(crate) fn any_event() -> impl Strategy<Value = (u64, Event)> {
    let event = prop_oneof![
        16 => of_a_service(),
        18 => of_an_instance(),
        4 => of_all(),
        3 => inventory(),
        6 => Just(Event::Tick),
    ];
    (0..30_u64, event)
}

fn of_a_service() -> impl Strategy<Value = Event> {
    let service = SERVICE;
    prop_oneof![
        3 => config().prop_map(configured),
        1 => Just(Event::ServiceRemoved { service }),
        7 => request().prop_map(move |request| Event::RequestQueued { service, request }),
        5 => request().prop_map(move |request| Event::RequestDone { service, request }),
    ]
}

fn of_an_instance() -> impl Strategy<Value = Event> {
    let (service, connection) = (SERVICE, ConnectionId(1));
    prop_oneof![
        6 => id().prop_map(move |(instance, epoch)| Event::InstanceReady { service, instance, epoch }),
        2 => id().prop_map(move |(instance, epoch)| Event::InstanceFailed { service, instance, epoch }),
        4 => (id(), amount()).prop_map(move |((instance, epoch), written_bytes)| Event::InstanceParked {
            service, instance, epoch, written_bytes
        }),
        2 => id().prop_map(move |(instance, epoch)| Event::ParkRefused {
            service, instance, epoch, last_activity: Timestamp::ZERO
        }),
        2 => id().prop_map(move |(instance, epoch)| Event::InstanceExited { service, instance, epoch }),
        1 => id().prop_map(move |(instance, epoch)| Event::InstanceFinished { service, instance, epoch }),
        1 => id().prop_map(move |(instance, _)| Event::ConnectionActive { service, instance, connection }),
        1 => id().prop_map(move |(instance, _)| Event::ConnectionQuiet { service, instance, connection }),
        1 => id().prop_map(move |(instance, _)| Event::ConnectionClosed { service, instance, connection }),
        2 => (id(), amount()).prop_map(move |((instance, _), cpu)| Event::Usage {
            service, instance, cpu: Milli(cpu)
        }),
        2 => (id(), amount(), amount()).prop_map(move |((instance, _), resident_bytes, dirty_bytes)| {
            Event::InstanceMemory { service, instance, resident_bytes, dirty_bytes }
        }),
    ]
}

/// What concerns nodes and tenants: nodes come, go and change their size, some of which nobody announced.
fn of_all() -> impl Strategy<Value = Event> {
    let node = || (0..3_u64).prop_map(NodeId);
    let memory = || prop_oneof![Just(None), amount().prop_map(Some)];
    let tenant = (0..2_u64, proptest::option::of(0..3_u32), memory());
    prop_oneof![
        2 => (node(), memory()).prop_map(|(node, memory_bytes)| {
            let config = NodeConfig { memory_bytes, ..NodeConfig::default() };
            Event::NodeUp { node, config }
        }),
        2 => node().prop_map(|node| Event::NodeDown { node }),
        1 => (node(), memory()).prop_map(|(node, memory_bytes)| Event::NodeCapacity { node, memory_bytes }),
        2 => (node(), amount()).prop_map(|(node, available_bytes)| {
            Event::MemoryPressure { node, available_bytes }
        }),
        1 => (0..2_u64).prop_map(|tenant| Event::TenantRemoved { tenant: TenantId(tenant) }),
        1 => tenant.prop_map(|(tenant, max_instances, max_memory_bytes)| Event::TenantConfigured {
            tenant: TenantId(tenant),
            config: TenantConfig { max_instances, max_memory_bytes, ..TenantConfig::default() },
        }),
    ]
}

fn inventory() -> impl Strategy<Value = Event> {
    let phase = prop_oneof![
        Just(Phase::Starting),
        Just(Phase::Running),
        Just(Phase::Parking),
        Just(Phase::Parked),
        Just(Phase::Stopping)
    ];
    let report = (id(), 0..3_u64, phase, vec(request(), 0..3)).prop_map(
        |((instance, epoch), node, phase, in_flight)| InstanceReport {
            node: NodeId(node),
            instance,
            epoch,
            phase,
            in_flight,
            connections: vec![(ConnectionId(1), Activity::Active)],
        },
    );
    let inventory = (0..30_u64, vec(request(), 0..3), vec(report, 0..3));
    let inventory = inventory.prop_map(|(as_of, waiting, instances)| Inventory {
        service: SERVICE,
        as_of: ActionId(as_of),
        waiting,
        instances,
    });
    (inventory, proptest::option::weighted(0.3, config())).prop_map(|(inventory, config)| {
        let Some(config) = config else {
            return Event::Inventory(inventory);
        };
        let config = config.validate().expect("test configurations are valid");
        Event::ServiceAdopted { config, inventory }
    })
}

fn id() -> impl Strategy<Value = (InstanceId, Epoch)> {
    (1..4_u64, 0..4_u64).prop_map(|(instance, epoch)| (InstanceId(instance), Epoch(epoch)))
}

fn request() -> impl Strategy<Value = RequestId> {
    (0..6_u64).prop_map(RequestId)
}

/// Some, none, or more than can be.
fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..1_000_000_000_u64, 1 => Just(0), 1 => Just(u64::MAX)]
}
