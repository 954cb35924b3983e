use crate::ids::{NodeId, TenantId};
use crate::limits::config::{NodeConfig, TenantConfig};
use crate::limits::gate::Gate;
use crate::limits::node::Charge;
use crate::limits::pressure::BrownOut;
use crate::limits::reserve::Lacking;
use crate::time::Timestamp;

/// Who has what, and what there is.
impl Gate {
    /// An instance has another charge than before.
    pub(crate) fn charge(
        &mut self,
        tenant: TenantId,
        node: NodeId,
        (old, new): (Option<Charge>, Option<Charge>),
        now: Timestamp,
    ) {
        if old == new {
            return;
        }
        let (less, evicts) = self.nodes.with(node, now, |node| {
            let before = (node.used(), node.instances);
            if let Some(old) = old {
                node.subtract(old);
            }
            if let Some(new) = new {
                node.add(new);
            }
            let less = node.used() < before.0 || node.instances < before.1;
            if less {
                node.wanted = 0;
            }
            (less, node.to_evict() > 0)
        });
        let bytes = |charge: Option<Charge>| charge.map_or(0, |charge| charge.bytes);
        let awake = |charge: Option<Charge>| u32::from(charge.is_some_and(|charge| charge.is_awake()));
        self.tenants
            .charge(tenant, (bytes(new), bytes(old)), (awake(new), awake(old)), now);
        if less || awake(new) < awake(old) {
            self.aside.freed(node);
            self.rotation.resume(tenant);
        }
        if evicts {
            self.hungry.insert(node);
        }
    }

    /// A service lacks other instances that are to be awake always than before.
    pub(crate) fn reserve(&mut self, before: Lacking, after: Lacking) {
        self.reserve.change(before, after);
        if after.total() < before.total() {
            self.aside.freed_everywhere();
        }
    }

    pub(crate) fn configure_tenant(&mut self, tenant: TenantId, config: TenantConfig, now: Timestamp) {
        self.tenants.configure(tenant, config, now);
        self.rotation.weigh(tenant, self.tenants.weight(tenant));
        self.rotation.resume(tenant);
        for head in self.aside.rescue_of(tenant) {
            self.back_in_line(head);
        }
    }

    /// A tenant is like one never told of; says whether it was known.
    pub(crate) fn remove_tenant(&mut self, tenant: TenantId, now: Timestamp) -> bool {
        let was_told = self.tenants.is_configured(tenant);
        if was_told {
            self.configure_tenant(tenant, TenantConfig::default(), now);
            self.tenants.unconfigure(tenant);
        }
        was_told
    }

    /// A node is there. Says whether what sleeps on it has to be listed now.
    pub(crate) fn node_up(&mut self, node: NodeId, config: NodeConfig, now: Timestamp) -> bool {
        let listed = self.lists_sleepers(node);
        self.nodes.raise(node, config, now);
        self.more_room(node);
        !listed && self.lists_sleepers(node)
    }

    /// A node has so much memory from now on. Says whether what sleeps on it has to be listed now.
    pub(crate) fn node_capacity(&mut self, node: NodeId, memory_bytes: Option<u64>, now: Timestamp) -> bool {
        let Some(known) = self.nodes.find(node).filter(|node| node.up) else {
            return false;
        };
        let config = NodeConfig {
            memory_bytes,
            ..known.config.clone()
        };
        self.node_up(node, config, now)
    }

    /// A node is gone; says whether it was there.
    pub(crate) fn node_down(&mut self, node: NodeId, now: Timestamp) -> bool {
        let was_up = self.nodes.lower(node, now);
        if was_up {
            self.unkeep_on(node);
            self.hungry.remove(&node);
            self.aside.freed(node);
            self.rescue();
        }
        was_up
    }

    /// The owner of a node measured its available memory. Says what it did without before, and does now.
    pub(crate) fn measured(&mut self, node: NodeId, available: u64, now: Timestamp) -> (BrownOut, BrownOut) {
        let (before, after) = self.nodes.with(node, now, |node| {
            let before = node.pressure.step();
            node.measured(available);
            (before, node.pressure.step())
        });
        self.hungry.insert(node);
        if after < before {
            self.more_room(node);
        }
        (before, after)
    }

    /// What a node does without.
    pub(crate) fn brown_out(&self, node: NodeId) -> BrownOut {
        self.nodes
            .find(node)
            .map_or(BrownOut::None, |node| node.pressure.step())
    }

    /// Thousandths by which something is moved at random.
    pub(crate) fn jitter(&mut self) -> u32 {
        match self.config.jitter_permille {
            0 => 0,
            most => u32::try_from(self.random.below(u64::from(most.min(1_000)) + 1)).unwrap_or(0),
        }
    }

    /// Memory of an instance that was measured to have so much: less than declared, but with room to grow.
    pub(crate) fn measured_charge(&self, declared: u64, resident: u64) -> u64 {
        resident.saturating_add(self.config.growth_bytes).min(declared)
    }

    fn more_room(&mut self, node: NodeId) {
        self.aside.freed(node);
        self.hungry.insert(node);
        self.rescue();
    }
}
