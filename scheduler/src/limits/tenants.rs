use alloc::collections::{BTreeMap, BTreeSet};
use core::cmp::Reverse;

use crate::ids::TenantId;
use crate::limits::blocked::{Blocked, Scope};
use crate::limits::bucket::Bucket;
use crate::limits::config::TenantConfig;
use crate::time::Timestamp;

/// What each tenant has and may have. Those without limits of their own are only known while they have something.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    known: BTreeMap<TenantId, Tenant>,
    /// Those with memory, by what they have of it for their weight, the greediest first.
    greed: BTreeSet<(Reverse<u64>, TenantId)>,
    /// Weights of those with memory.
    weights: u64,
}

#[derive(Debug)]
struct Tenant {
    config: TenantConfig,
    /// It was told of, so it is known whatever it has.
    configured: bool,
    used_bytes: u64,
    instances: u32,
    starts: Bucket,
    parks: Bucket,
}

impl Tenant {
    fn new(config: TenantConfig, now: Timestamp) -> Self {
        Self {
            starts: Bucket::new(config.starts, now),
            parks: Bucket::new(config.park_bytes, now),
            config,
            configured: false,
            used_bytes: 0,
            instances: 0,
        }
    }

    fn weight(&self) -> u64 {
        u64::from(self.config.weight.max(1))
    }
}

impl Tenants {
    pub(crate) fn configure(&mut self, id: TenantId, config: TenantConfig, now: Timestamp) {
        self.unrank(id);
        let tenant = self
            .known
            .entry(id)
            .or_insert_with(|| Tenant::new(config.clone(), now));
        tenant.starts.set_limit(config.starts, now);
        tenant.parks.set_limit(config.park_bytes, now);
        tenant.config = config;
        tenant.configured = true;
        self.rank(id);
    }

    /// Whether it is known whatever it has.
    pub(crate) fn is_configured(&self, id: TenantId) -> bool {
        self.known.get(&id).is_some_and(|tenant| tenant.configured)
    }

    /// It is known from now on only while it has something.
    pub(crate) fn unconfigure(&mut self, id: TenantId) {
        if let Some(tenant) = self.known.get_mut(&id) {
            tenant.configured = false;
            self.forget_idle(id);
        }
    }

    fn forget_idle(&mut self, id: TenantId) {
        let is_idle = |tenant: &Tenant| tenant.used_bytes == 0 && tenant.instances == 0 && !tenant.configured;
        if self.known.get(&id).is_some_and(is_idle) {
            self.known.remove(&id);
        }
    }

    pub(crate) fn weight(&self, id: TenantId) -> u32 {
        self.known
            .get(&id)
            .map_or(1, |tenant| tenant.config.weight.max(1))
    }

    pub(crate) fn used_bytes(&self, id: TenantId) -> u64 {
        self.known.get(&id).map_or(0, |tenant| tenant.used_bytes)
    }

    pub(crate) fn instances(&self, id: TenantId) -> u32 {
        self.known.get(&id).map_or(0, |tenant| tenant.instances)
    }

    /// Whether one more instance may start, which has `more` bytes more than it has now.
    pub(crate) fn check(&self, id: TenantId, more: u64, now: Timestamp) -> Result<(), Blocked> {
        let Some(tenant) = self.known.get(&id) else {
            return Ok(());
        };
        let config = &tenant.config;
        if let Some(max_instances) = config.max_instances
            && tenant.instances >= max_instances
        {
            return Err(Blocked::Instances {
                tenant: id,
                instances: tenant.instances,
                max_instances,
            });
        }
        if let Some(max_bytes) = config.max_memory_bytes
            && tenant.used_bytes.saturating_add(more) > max_bytes
        {
            return Err(Blocked::TenantMemory {
                tenant: id,
                used_bytes: tenant.used_bytes,
                needs_bytes: more,
                max_bytes,
            });
        }
        match config.starts {
            Some(limit) if !tenant.starts.has(now, 1) => Err(Blocked::StartRate {
                scope: Scope::Tenant(id),
                limit,
                free_at: tenant.starts.next_at(now, 1),
                waiting: 0,
            }),
            _ => Ok(()),
        }
    }

    /// How many more instances it may have, and how much more memory.
    pub(crate) fn room(&self, id: TenantId) -> (u64, u64) {
        let Some(tenant) = self.known.get(&id) else {
            return (u64::MAX, u64::MAX);
        };
        let TenantConfig {
            max_instances,
            max_memory_bytes,
            ..
        } = tenant.config;
        let places = max_instances.map_or(u64::MAX, |most| u64::from(most.saturating_sub(tenant.instances)));
        let bytes = max_memory_bytes.map_or(u64::MAX, |most| most.saturating_sub(tenant.used_bytes));
        (places, bytes)
    }

    pub(crate) fn take_start(&mut self, id: TenantId, now: Timestamp) {
        if let Some(tenant) = self.known.get_mut(&id) {
            tenant.starts.take(now, 1);
        }
    }

    pub(crate) fn parks(&mut self, id: TenantId) -> Option<&mut Bucket> {
        self.known.get_mut(&id).map(|tenant| &mut tenant.parks)
    }

    /// It has so much more and so much less memory, and so many more and fewer instances.
    pub(crate) fn charge(&mut self, id: TenantId, bytes: (u64, u64), instances: (u32, u32), now: Timestamp) {
        if bytes.0 == bytes.1 && instances.0 == instances.1 {
            return;
        }
        let moves = bytes.0 != bytes.1;
        if moves {
            self.unrank(id);
        }
        let tenant = self
            .known
            .entry(id)
            .or_insert_with(|| Tenant::new(TenantConfig::default(), now));
        tenant.used_bytes = tenant.used_bytes.saturating_add(bytes.0).saturating_sub(bytes.1);
        tenant.instances = tenant
            .instances
            .saturating_add(instances.0)
            .saturating_sub(instances.1);
        self.forget_idle(id);
        if moves {
            self.rank(id);
        }
    }

    /// Those with more than their share of so much memory, the greediest first.
    pub(crate) fn over_share(&self, capacity: u64) -> impl Iterator<Item = TenantId> {
        let share = capacity / self.weights.max(1);
        self.greed
            .iter()
            .take_while(move |(Reverse(greed), _)| *greed > share)
            .map(|(_, id)| *id)
    }

    fn rank(&mut self, id: TenantId) {
        if let Some((rank, weight)) = self.place(id) {
            self.greed.insert(rank);
            self.weights += weight;
        }
    }

    /// Before anything changes that its place follows from.
    fn unrank(&mut self, id: TenantId) {
        if let Some((rank, weight)) = self.place(id) {
            self.greed.remove(&rank);
            self.weights -= weight;
        }
    }

    /// Its place by greed, and its weight; `None` while it has no memory.
    fn place(&self, id: TenantId) -> Option<((Reverse<u64>, TenantId), u64)> {
        let tenant = self.known.get(&id).filter(|tenant| tenant.used_bytes > 0)?;
        let weight = tenant.weight();
        Some(((Reverse(tenant.used_bytes / weight), id), weight))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::limits::rate::RateLimit;

    const NOW: Timestamp = Timestamp::ZERO;

    fn over(tenants: &Tenants, capacity: u64) -> Vec<u64> {
        tenants.over_share(capacity).map(|tenant| tenant.0).collect()
    }

    #[test]
    fn quotas_are_told_with_their_numbers() {
        let mut tenants = Tenants::default();
        let config = TenantConfig {
            max_instances: Some(2),
            max_memory_bytes: Some(3 << 20),
            starts: Some(RateLimit::new(10, 1)),
            ..TenantConfig::default()
        };
        tenants.configure(TenantId(1), config, NOW);
        assert_eq!(tenants.check(TenantId(1), 1 << 20, NOW), Ok(()));
        tenants.take_start(TenantId(1), NOW);
        let mut told = |bytes, instances| {
            tenants.charge(TenantId(1), (bytes, 0), (instances, 0), NOW);
            let told = tenants.check(TenantId(1), 1 << 20, NOW);
            alloc::format!("{}", told.expect_err("a limit is reached"))
        };
        assert_eq!(
            told(0, 0),
            "starts of tenant 1 are limited to 10/s, 1 at once: next at 100 ms, 0 starts waiting"
        );
        assert_eq!(
            told(3 << 20, 1),
            "tenant 1 uses 3 MiB of at most 3 MiB, 1 MiB needed: an instance has to fall asleep or end"
        );
        assert_eq!(
            told(0, 1),
            "tenant 1 has 2 instances of at most 2: one has to fall asleep or end"
        );
    }

    #[test]
    fn who_has_more_than_its_weight_allows_is_over_its_share() {
        let mut tenants = Tenants::default();
        for (tenant, bytes) in [(1, 60), (2, 30), (3, 10)] {
            tenants.charge(TenantId(tenant), (bytes, 0), (1, 0), NOW);
        }
        assert_eq!(over(&tenants, 99), [1]);
        let heavy = TenantConfig {
            weight: 4,
            ..TenantConfig::default()
        };
        tenants.configure(TenantId(1), heavy, NOW);
        assert_eq!(over(&tenants, 99), [2]);
    }

    #[test]
    fn a_tenant_that_was_removed_has_no_limits_and_is_forgotten_with_its_last_byte() {
        let mut tenants = Tenants::default();
        let none = TenantConfig {
            max_instances: Some(0),
            ..TenantConfig::default()
        };
        for id in [TenantId(1), TenantId(2)] {
            tenants.configure(id, none.clone(), NOW);
        }
        tenants.charge(TenantId(1), (5, 0), (1, 0), NOW);
        for id in [TenantId(1), TenantId(2)] {
            tenants.configure(id, TenantConfig::default(), NOW);
            tenants.unconfigure(id);
            assert_eq!(tenants.check(id, 1, NOW), Ok(()));
        }
        assert_eq!(tenants.known.len(), 1);
        tenants.charge(TenantId(1), (0, 5), (0, 1), NOW);
        assert!(tenants.known.is_empty() && tenants.greed.is_empty());
    }

    #[test]
    fn a_tenant_that_has_nothing_is_forgotten() {
        let mut tenants = Tenants::default();
        tenants.charge(TenantId(1), (5, 0), (1, 0), NOW);
        tenants.charge(TenantId(1), (0, 5), (0, 1), NOW);
        assert!(tenants.known.is_empty() && tenants.greed.is_empty());
        assert_eq!(tenants.weights, 0);
    }
}
