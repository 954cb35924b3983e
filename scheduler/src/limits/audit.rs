use alloc::collections::BTreeMap;

use crate::ids::{NodeId, TenantId};
use crate::invariants::Violation;
use crate::limits::cache::Sleeper;
use crate::limits::gate::Gate;
use crate::limits::node::Charge;

/// What all instances together are charged for, to compare with the books.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    nodes: BTreeMap<NodeId, (u64, u64, u32)>,
    tenants: BTreeMap<TenantId, (u64, u32)>,
    pub(crate) sleepers: BTreeMap<NodeId, usize>,
    pub(crate) tickets: u64,
    pub(crate) reserved_bytes: u128,
}

impl Tally {
    pub(crate) fn add(&mut self, tenant: TenantId, node: NodeId, charge: Charge) {
        let instances = u32::from(charge.is_awake());
        let on_node = self.nodes.entry(node).or_default();
        on_node.0 += charge.bytes;
        on_node.1 += if charge.starting { charge.bytes } else { 0 };
        on_node.2 += instances;
        let of_tenant = self.tenants.entry(tenant).or_default();
        of_tenant.0 += charge.bytes;
        of_tenant.1 += instances;
    }
}

impl Gate {
    pub(crate) fn is_listed(&self, tenant: TenantId, node: NodeId, sleeper: Sleeper) -> bool {
        let node = self.nodes.find(node);
        node.is_some_and(|node| node.cache.contains(tenant, sleeper))
    }

    /// Compares the books with what there is.
    pub(crate) fn check_against(&self, tally: &Tally) -> Result<(), Violation> {
        let rule = |holds, rule| Violation::unless(holds, None, rule);
        for node in self.nodes.iter() {
            let counted = tally.nodes.get(&node.id).copied().unwrap_or_default();
            let booked = (node.used(), node.starting(), node.instances);
            rule(booked == counted, "a node is charged for what is on it")?;
            let listed = tally.sleepers.get(&node.id).copied().unwrap_or(0);
            rule(
                node.cache.len() == listed,
                "only what sleeps on a node is listed there",
            )?;
        }
        rule(
            self.nodes.adds_up(),
            "the nodes together have what each of them has",
        )?;
        let keep = self.nodes.iter().filter(|node| node.kept.is_some()).count();
        rule(
            keep == self.keeping.len(),
            "a node keeps memory for who is known to have it",
        )?;
        let known = tally
            .nodes
            .iter()
            .all(|(node, charged)| *charged == (0, 0, 0) || self.nodes.find(*node).is_some());
        rule(known, "a node with instances is known")?;
        for (tenant, (bytes, instances)) in &tally.tenants {
            let booked = (self.tenants.used_bytes(*tenant), self.tenants.instances(*tenant));
            rule(
                booked == (*bytes, *instances),
                "a tenant is charged for what it has",
            )?;
        }
        rule(
            tally.reserved_bytes == self.reserve.total(),
            "what is kept for the least is what it lacks",
        )?;
        rule(
            tally.tickets == u64::from(self.waiting()),
            "only who waits for a limit has a place in line",
        )
    }
}
