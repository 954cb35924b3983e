use alloc::collections::BTreeMap;

use crate::ids::{NodeId, TenantId};
use crate::limits::ask::Ask;
use crate::limits::blocked::Blocked;
use crate::limits::gate::Gate;
use crate::limits::node::Purpose;
use crate::limits::tenants::Tenants;

/// Instances of a service that are to be awake always and are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lacking {
    pub(crate) tenant: TenantId,
    pub(crate) count: u32,
    /// Of each.
    pub(crate) bytes: u64,
}

impl Lacking {
    pub(crate) fn total(self) -> u128 {
        u128::from(self.count) * u128::from(self.bytes)
    }
}

/// Memory that is kept for instances that are to be awake always and are not.
#[derive(Debug, Default)]
pub(crate) struct Reserve {
    /// By tenant and size, how many lack.
    lacking: BTreeMap<TenantId, BTreeMap<u64, u64>>,
    total: u128,
}

impl Reserve {
    /// All that lacks, whether it could be there or not.
    pub(crate) fn total(&self) -> u128 {
        self.total
    }

    /// A service lacks something else than before.
    pub(crate) fn change(&mut self, before: Lacking, after: Lacking) {
        self.total = self.total - before.total() + after.total();
        for (lacking, is_more) in [(after, true), (before, false)] {
            if lacking.total() == 0 {
                continue;
            }
            let sizes = self.lacking.entry(lacking.tenant).or_default();
            let count = sizes.entry(lacking.bytes).or_default();
            *count = if is_more {
                *count + u64::from(lacking.count)
            } else {
                *count - u64::from(lacking.count)
            };
            sizes.retain(|_, count| *count > 0);
            if sizes.is_empty() {
                self.lacking.remove(&lacking.tenant);
            }
        }
    }

    /// Of all that lacks, what could be there: that fits on a node, within the limits of its tenant.
    fn possible(&self, largest: u64, tenants: &Tenants) -> u128 {
        let of_tenant = |(tenant, sizes): (&TenantId, &BTreeMap<u64, u64>)| {
            let (mut places, room) = tenants.room(*tenant);
            let mut bytes = 0_u128;
            for (size, count) in sizes.range(..=largest).rev() {
                let count = (*count).min(places);
                places -= count;
                bytes += u128::from(*size) * u128::from(count);
            }
            bytes.min(u128::from(room))
        };
        self.lacking.iter().map(of_tenant).sum()
    }
}

impl Gate {
    /// What is not used is kept for instances that are to be awake always, as far as they are not and could be.
    pub(super) fn check_reserve(&self, ask: &Ask, node: NodeId) -> Result<(), Blocked> {
        if self.reserve.total() == 0 || ask.purpose == Purpose::Min || ask.more() == 0 {
            return Ok(());
        }
        let (free, more) = (self.nodes.free(), ask.more());
        let beside = |kept: u128| u128::from(free).saturating_sub(kept);
        if beside(self.reserve.total()) >= u128::from(more) {
            return Ok(());
        }
        let free = beside(self.reserve.possible(self.nodes.largest(), &self.tenants));
        if free >= u128::from(more) {
            return Ok(());
        }
        Err(Blocked::Memory {
            node,
            free_bytes: u64::try_from(free).unwrap_or(u64::MAX),
            needs_bytes: more,
            capacity_bytes: self.nodes.capacity(),
        })
    }
}
