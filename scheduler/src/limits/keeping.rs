use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use crate::ids::{NodeId, ServiceId, TenantId};
use crate::limits::ask::Ask;
use crate::limits::gate::Gate;
use crate::time::Timestamp;

/// Nothing is kept for less.
const SHORTEST: Duration = Duration::from_millis(1);

/// For whom memory is kept: for one service of a tenant at a time.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    places: BTreeMap<ServiceId, Place>,
    tenants: BTreeSet<TenantId>,
    /// When that ends, whether it started or not.
    ends: BTreeSet<(Timestamp, ServiceId)>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    node: NodeId,
    tenant: TenantId,
    until: Timestamp,
}

impl Keeping {
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn next_end(&self) -> Option<Timestamp> {
        self.ends.first().map(|(until, _)| *until)
    }

    fn remove(&mut self, service: ServiceId) -> Option<NodeId> {
        let Place { node, tenant, until } = self.places.remove(&service)?;
        self.tenants.remove(&tenant);
        self.ends.remove(&(until, service));
        Some(node)
    }
}

/// What becomes free is kept for who waited too long.
impl Gate {
    /// Keeps memory for a start, if none is kept for its tenant and its node keeps some now.
    pub(super) fn keep(&mut self, ask: &Ask, node: NodeId, now: Timestamp) {
        let (service, tenant) = (ask.service, ask.tenant);
        if self.keeping.places.contains_key(&service) || self.keeping.tenants.contains(&tenant) {
            return;
        }
        let kept = self.nodes.with(node, now, |node| {
            let is_free = node.kept.is_none() && node.keeps_from <= now;
            if is_free {
                node.keep(service, ask.more(), ask.purpose, now);
            }
            is_free.then_some(()).ok_or(node.keeps_from)
        });
        match kept {
            Ok(()) => {
                let until = now + self.config.reserve_for.max(SHORTEST);
                self.keeping.places.insert(service, Place { node, tenant, until });
                self.keeping.tenants.insert(tenant);
                self.keeping.ends.insert((until, service));
            }
            Err(from) if from > now => self.aside.look_at(from, ask.sought()),
            Err(_) => {}
        }
    }

    /// Nothing is kept for it any more. For as long as it was, its node keeps nothing for anybody: others have it for half
    /// of the time at least.
    pub(super) fn unkeep(&mut self, service: ServiceId, now: Timestamp) {
        let Some(node) = self.keeping.remove(service) else {
            return;
        };
        let longest = self.config.reserve_for.max(SHORTEST);
        self.nodes.with(node, now, |node| {
            if let Some(kept) = node.kept.take() {
                let lasted = now.saturating_since(kept.since);
                node.keeps_from = now + lasted.min(longest);
            }
        });
        self.aside.freed(node);
    }

    /// Who did not start in time for all that was kept for it waits like others.
    pub(super) fn end_keeping(&mut self, now: Timestamp) {
        while let Some((until, service)) = self.keeping.ends.first().copied()
            && until <= now
        {
            self.unkeep(service, now);
        }
    }

    /// The node is gone, with what was kept there.
    pub(super) fn unkeep_on(&mut self, node: NodeId) {
        let there = self.keeping.places.iter().filter(|(_, place)| place.node == node);
        let there = there.map(|(service, _)| *service).next();
        if let Some(service) = there {
            self.keeping.remove(service);
        }
    }
}
