#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::config::{ServiceConfig, ValidConfig};
use crate::ids::{NodeId, ServiceId, TenantId};
use crate::limits::{LimitsConfig, NodeConfig, RateLimit, TenantConfig};
use crate::problem::{Problem, Problems};
use crate::units::{Bytes, Count};

/// All that is to be configured together, to be checked before it is used: each part for itself, and whether they can
/// work together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deployment {
    /// What all services share, node 0 included.
    pub limits: LimitsConfig,
    /// The nodes that will be told of by `NodeUp`.
    pub nodes: Vec<(NodeId, NodeConfig)>,
    /// The tenants that will be told of by `TenantConfigured`; others have the default.
    pub tenants: Vec<(TenantId, TenantConfig)>,
    /// The services.
    pub services: Vec<(ServiceId, ServiceConfig)>,
}

impl Deployment {
    /// Checks everything.
    ///
    /// # Errors
    /// Every problem there is, each with its path, where lists are told by id: `services[3].max_instances`.
    pub fn validate(&self) -> Result<Vec<(ServiceId, ValidConfig)>, Vec<Problem>> {
        let mut problems = Problems::default();
        self.check_limits(&mut problems);
        self.check_nodes(&mut problems);
        self.check_tenants(&mut problems);
        let services = self.check_services(&mut problems);
        self.check_rooms(&mut problems);
        self.check_reservations(&mut problems);
        problems.or(services)
    }

    fn check_limits(&self, problems: &mut Problems) {
        let limits = &self.limits;
        check_rate(problems, "limits.starts", limits.starts);
        check_rate(problems, "limits.park_bytes", limits.park_bytes);
        check_rate(
            problems,
            "limits.parks_after_stall",
            Some(limits.parks_after_stall),
        );
        let jitter = limits.jitter_permille;
        let message = format_args!("is {jitter} ‰, must be at most 1000 ‰");
        problems.unless(jitter <= 1_000, "limits.jitter_permille", message);
    }

    fn check_nodes(&self, problems: &mut Problems) {
        check_node(problems, "limits.node", &self.limits.node);
        check_ids(problems, "nodes", self.nodes.iter().map(|(id, _)| *id));
        for (id, node) in &self.nodes {
            check_node(problems, &format!("nodes[{id}]"), node);
        }
    }

    fn check_tenants(&self, problems: &mut Problems) {
        check_ids(problems, "tenants", self.tenants.iter().map(|(id, _)| *id));
        for (id, tenant) in &self.tenants {
            let path = format!("tenants[{id}]");
            check_rate(problems, &format!("{path}.starts"), tenant.starts);
            check_rate(problems, &format!("{path}.park_bytes"), tenant.park_bytes);
            if tenant.max_instances == Some(0) {
                let message = String::from("is 0: nothing of it would ever start, must be at least 1");
                problems.push(format!("{path}.max_instances"), message);
            }
        }
    }

    /// Each for itself.
    fn check_services(&self, problems: &mut Problems) -> Vec<(ServiceId, ValidConfig)> {
        check_ids(problems, "services", self.services.iter().map(|(id, _)| *id));
        let mut valid = Vec::new();
        for (id, service) in &self.services {
            match service.clone().validate() {
                Ok(config) => valid.push((*id, config)),
                Err(found) => {
                    for Problem { path, message } in found {
                        problems.push(format!("services[{id}].{path}"), message);
                    }
                }
            }
        }
        valid
    }

    /// Whether each service fits on some node, and into what its tenant may have.
    fn check_rooms(&self, problems: &mut Problems) {
        let largest = self
            .all_nodes()
            .map(|(_, node)| node.high_water())
            .max()
            .unwrap_or(0);
        for (id, service) in &self.services {
            let needs = service.resources.memory_bytes;
            let path = || format!("services[{id}].resources.memory_bytes");
            if needs > largest {
                let (needs, largest) = (Bytes(needs), Bytes(largest));
                let message =
                    format!("is {needs}, no node has room for more than {largest} of a new instance");
                problems.push(path(), message);
            }
            let tenant = service.resources.tenant;
            if let Some(most) = self.tenant(tenant).and_then(|tenant| tenant.max_memory_bytes)
                && needs > most
            {
                let message = format!("is {}, tenant {tenant} may have {}", Bytes(needs), Bytes(most));
                problems.push(path(), message);
            }
        }
    }

    /// Whether what is to be awake always can be, all at once.
    fn check_reservations(&self, problems: &mut Problems) {
        let mut reserved: BTreeMap<TenantId, (u64, u64)> = BTreeMap::new();
        for (_, service) in &self.services {
            let instances = u64::from(service.min_instances);
            let bytes = service.resources.memory_bytes.saturating_mul(instances);
            let (all_instances, all_bytes) = reserved.entry(service.resources.tenant).or_default();
            *all_instances = all_instances.saturating_add(instances);
            *all_bytes = all_bytes.saturating_add(bytes);
        }
        let all = reserved
            .values()
            .fold(0_u64, |all, (_, bytes)| all.saturating_add(*bytes));
        let nodes = self.all_nodes().map(|(_, node)| node.capacity());
        let there = nodes.fold(0_u64, u64::saturating_add);
        if all > there {
            let message = format!(
                "need {} for their min_instances, the nodes have {}",
                Bytes(all),
                Bytes(there)
            );
            problems.push("services", message);
        }
        for (id, (instances, bytes)) in reserved {
            let Some(tenant) = self.tenant(id) else { continue };
            if let Some(most) = tenant.max_memory_bytes.filter(|most| bytes > *most) {
                let message = format!(
                    "is {}, the min_instances of its services need {}",
                    Bytes(most),
                    Bytes(bytes)
                );
                problems.push(format!("tenants[{id}].max_memory_bytes"), message);
            }
            if let Some(most) = tenant.max_instances.filter(|most| instances > u64::from(*most)) {
                let instances = u32::try_from(instances).unwrap_or(u32::MAX);
                let message = format!(
                    "is {most}, its services are to have {} awake always",
                    Count(instances, "instance")
                );
                problems.push(format!("tenants[{id}].max_instances"), message);
            }
        }
    }

    /// Node 0 is there unless it is told of anew.
    fn all_nodes(&self) -> impl Iterator<Item = (NodeId, &NodeConfig)> {
        let told = self.nodes.iter().any(|(id, _)| *id == NodeId(0));
        let first = (!told).then_some((NodeId(0), &self.limits.node));
        first
            .into_iter()
            .chain(self.nodes.iter().map(|(id, node)| (*id, node)))
    }

    fn tenant(&self, id: TenantId) -> Option<&TenantConfig> {
        self.tenants
            .iter()
            .find(|(known, _)| *known == id)
            .map(|(_, tenant)| tenant)
    }
}

fn check_ids<Id: Ord + Copy + fmt::Display>(
    problems: &mut Problems,
    list: &'static str,
    ids: impl Iterator<Item = Id>,
) {
    let mut seen = BTreeSet::new();
    for id in ids {
        if !seen.insert(id) {
            problems.push(format!("{list}[{id}]"), String::from("is there twice"));
        }
    }
}

fn check_rate(problems: &mut Problems, path: &str, rate: Option<RateLimit>) {
    let Some(rate) = rate else { return };
    for (field, value) in [("per_second", rate.per_second), ("burst", rate.burst)] {
        if value == 0 {
            let message = String::from("is 0, must be at least 1");
            problems.push(format!("{path}.{field}"), message);
        }
    }
}

fn check_node(problems: &mut Problems, path: &str, node: &NodeConfig) {
    check_rate(problems, &format!("{path}.starts"), node.starts);
    check_rate(problems, &format!("{path}.park_bytes"), node.park_bytes);
    let (low, high) = (node.low_water_percent, node.high_water_percent);
    if !(1..=100).contains(&high) {
        let message = format!("is {high} %, must be 1 to 100 %");
        problems.push(format!("{path}.high_water_percent"), message);
    }
    if low > high {
        let message = format!("is {low} %, must be at most high_water_percent, {high} %");
        problems.push(format!("{path}.low_water_percent"), message);
    }
}
