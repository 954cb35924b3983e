use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::config::ResourceConfig;

const MIB: u64 = 1 << 20;

fn service(id: u64, min_instances: u32, mib: u64, tenant: u64) -> (ServiceId, ServiceConfig) {
    let config = ServiceConfig {
        min_instances,
        max_instances: 8,
        resources: ResourceConfig {
            memory_bytes: mib * MIB,
            tenant: TenantId(tenant),
            ..ResourceConfig::default()
        },
        ..ServiceConfig::default()
    };
    (ServiceId(id), config)
}

/// Node 0 has a gibibyte, node 1 half of it.
fn deployment(services: Vec<(ServiceId, ServiceConfig)>) -> Deployment {
    Deployment {
        limits: LimitsConfig {
            node: NodeConfig::with_memory(1_024 * MIB),
            ..LimitsConfig::default()
        },
        nodes: vec![(NodeId(1), NodeConfig::with_memory(512 * MIB))],
        services,
        ..Deployment::default()
    }
}

fn problems(deployment: &Deployment) -> Vec<String> {
    let found = deployment.validate().err().unwrap_or_default();
    found.iter().map(Problem::to_string).collect()
}

#[test]
fn nothing_is_wrong_with_the_default_and_with_what_fits() {
    assert_eq!(Deployment::default().validate(), Ok(Vec::new()));
    let fits = deployment(vec![service(1, 1, 512, 0), service(2, 2, 256, 0)]);
    let valid = fits.validate().expect("1 GiB of 1.5");
    let ids: Vec<_> = valid.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [ServiceId(1), ServiceId(2)]);
}

#[test]
fn the_problems_of_a_service_are_told_by_its_id() {
    let mut wrong = service(3, 0, 0, 0);
    wrong.1.max_instances = 0;
    wrong.1.scale.soft_concurrency = 0;
    assert_eq!(
        problems(&deployment(vec![wrong])),
        [
            "services[3].max_instances is 0, must be at least 1",
            "services[3].scale.soft_concurrency is 0, must be at least 1",
        ]
    );
}

#[test]
fn an_instance_that_fits_nowhere_is_refused() {
    assert_eq!(
        problems(&deployment(vec![service(1, 0, 1_000, 0)])),
        [
            "services[1].resources.memory_bytes is 1000 MiB, no node has room for more than 921.5 MiB of a new instance"
        ]
    );
}

#[test]
fn reservations_that_exceed_the_nodes_are_refused() {
    assert_eq!(
        problems(&deployment(vec![service(1, 2, 512, 0), service(2, 3, 256, 0)])),
        ["services need 1.7 GiB for their min_instances, the nodes have 1.5 GiB"]
    );
    let mut unlimited = deployment(vec![service(1, 8, 512, 0)]);
    unlimited.limits.node.memory_bytes = None;
    assert_eq!(problems(&unlimited), [""; 0], "one node without limits takes all");
}

#[test]
fn limits_of_a_tenant_that_never_let_its_services_be_are_refused() {
    let mut tight = deployment(vec![service(1, 2, 128, 7), service(2, 1, 400, 7)]);
    let tenant = TenantConfig {
        max_instances: Some(2),
        max_memory_bytes: Some(300 * MIB),
        ..TenantConfig::default()
    };
    tight.tenants = vec![(TenantId(7), tenant)];
    assert_eq!(
        problems(&tight),
        [
            "services[2].resources.memory_bytes is 400 MiB, tenant 7 may have 300 MiB",
            "tenants[7].max_memory_bytes is 300 MiB, the min_instances of its services need 656 MiB",
            "tenants[7].max_instances is 2, its services are to have 3 instances awake always",
        ]
    );
}

#[test]
fn rates_and_bounds_that_let_nothing_pass_are_refused() {
    let mut closed = deployment(Vec::new());
    closed.limits.starts = Some(RateLimit::new(0, 1));
    closed.limits.jitter_permille = 1_001;
    closed.nodes[0].1.high_water_percent = 0;
    let tenant = TenantConfig {
        starts: Some(RateLimit::new(1, 0)),
        max_instances: Some(0),
        ..TenantConfig::default()
    };
    closed.tenants = vec![(TenantId(7), tenant)];
    assert_eq!(
        problems(&closed),
        [
            "limits.starts.per_second is 0, must be at least 1",
            "limits.jitter_permille is 1001 ‰, must be at most 1000 ‰",
            "nodes[1].high_water_percent is 0 %, must be 1 to 100 %",
            "nodes[1].low_water_percent is 80 %, must be at most high_water_percent, 0 %",
            "tenants[7].starts.burst is 0, must be at least 1",
            "tenants[7].max_instances is 0: nothing of it would ever start, must be at least 1",
        ]
    );
}

#[test]
fn what_is_there_twice_is_refused() {
    let twice = deployment(vec![service(1, 0, 1, 0), service(1, 0, 1, 0)]);
    assert_eq!(problems(&twice), ["services[1] is there twice"]);
}
