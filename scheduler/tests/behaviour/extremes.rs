//! The ends of what can be told: times, many of one thing.

use std::time::Duration;

use scheduler::{
    Event, Inventory, KpaConfig, NodeConfig, NodeId, RateLimit, RequestId, ScaleMode, ServiceConfig,
    StepPolicy, TenantConfig, TenantId, Timestamp,
};

use crate::desk::{Desk, NOTHING, SERVICE, config};

const LAST: Timestamp = Timestamp::from_nanos(u64::MAX);

#[test]
fn at_the_end_of_time_a_tick_ends_too() {
    let mut knative = config();
    knative.scale.mode = ScaleMode::Kpa(KpaConfig::default());
    let mut desk = Desk::awake(knative);
    desk.now = LAST;
    desk.tick();
    let mut patient = config();
    patient.queue.max_wait = Duration::MAX;
    patient.start.timeout = Duration::MAX;
    let mut desk = Desk::new(patient);
    desk.queued(1);
    desk.now = LAST;
    assert_eq!(desk.tick(), NOTHING, "never is not over");
    assert_eq!(desk.ready(1, 1), ["admit 1 to 1"]);
}

/// Whatever asks for instances that no request does, one event does not start more than so many.
#[test]
fn no_count_asks_for_more_than_ten_thousand_awake_instances() {
    let at_most = format!("must be at most {}", ServiceConfig::MAX_AWAKE);
    let mut many = ServiceConfig {
        min_instances: ServiceConfig::MAX_AWAKE + 1,
        max_instances: u32::MAX,
        ..config()
    };
    many.scale.initial_instances = ServiceConfig::MAX_AWAKE + 1;
    let problems = many.clone().validate().expect_err("too many");
    let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
    let is = format!("is {}, {at_most}", ServiceConfig::MAX_AWAKE + 1);
    assert_eq!(
        told,
        [
            format!("min_instances {is}"),
            format!("scale.initial_instances {is}")
        ]
    );

    (many.min_instances, many.scale.initial_instances) = (0, 0);
    let steps = StepPolicy::parse("in-flight", "exact", ["0:/3000000"]).expect("of the right form");
    many.scale.mode = ScaleMode::Steps(steps);
    let mut desk = Desk::new(many);
    desk.queued(1);
    desk.ready(1, 1);
    let started = desk.at(1_000).tick().len();
    assert_eq!(
        started + 1,
        usize::try_from(ServiceConfig::MAX_AWAKE).expect("small")
    );
}

/// A service with so many instances that work on one request each.
fn busy(count: u64) -> Desk {
    let mut desk = Desk::new(ServiceConfig {
        max_instances: u32::MAX,
        concurrency: 1,
        ..config()
    });
    for request in 0..count {
        let service = SERVICE;
        let mut tell = |event| desk.scheduler.handle(desk.now, event, &mut desk.actions);
        tell(Event::RequestQueued {
            service,
            request: RequestId(request),
        });
        tell(Event::InstanceReady {
            service,
            instance: scheduler::InstanceId(request + 1),
            epoch: scheduler::Epoch(1),
        });
    }
    desk
}

/// Looking at every request once for each instance would take minutes.
#[test]
fn twenty_thousand_busy_instances_may_go_at_once() {
    const COUNT: u64 = 20_000;
    let inventory = Event::Inventory(Inventory {
        service: SERVICE,
        as_of: scheduler::ActionId(u64::MAX),
        waiting: Vec::new(),
        instances: Vec::new(),
    });
    let node = NodeId(0);
    for event in [Event::NodeDown { node }, inventory] {
        let mut desk = busy(COUNT);
        let there = Event::NodeUp {
            node: NodeId(1),
            config: NodeConfig::default(),
        };
        desk.scheduler.handle(desk.now, there, &mut desk.actions);
        desk.event(event);
        let why = desk.scheduler.why(SERVICE).expect("it is configured");
        assert_eq!((why.instances.len(), why.counters.lost), (0, COUNT));
    }
}

#[test]
fn what_a_node_or_tenant_has_out_of_range_counts_as_the_nearest_that_is_not() {
    let acts = |high_water_percent, low_water_percent, weight, rate| {
        let mut desk = Desk::new(config());
        let starts = Some(RateLimit::new(rate, rate));
        let node = NodeConfig {
            high_water_percent,
            low_water_percent,
            starts,
            ..NodeConfig::with_memory(1_000)
        };
        let tenant = TenantConfig {
            weight,
            starts,
            ..TenantConfig::default()
        };
        desk.event(Event::NodeUp {
            node: NodeId(0),
            config: node,
        });
        desk.event(Event::TenantConfigured {
            tenant: TenantId(0),
            config: tenant,
        });
        let started = desk.queued(1);
        desk.failed(1, 1);
        (started, desk.at(20).tick(), desk.deadline_ms())
    };
    let nearest = acts(100, 100, 1, 1);
    assert_eq!(acts(255, 255, 0, 0), nearest);
    assert_eq!((nearest.0.len(), nearest.1.len(), nearest.2), (1, 0, Some(1_000)));
}
