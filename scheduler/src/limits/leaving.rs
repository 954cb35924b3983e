use crate::ids::{NodeId, TenantId};
use crate::limits::bucket::Bucket;
use crate::limits::cache::{Sleeper, Worth};
use crate::limits::gate::Gate;
use crate::limits::pace::Pace;
use crate::time::Timestamp;

/// What a park is taken to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write {
    pub(crate) bytes: u64,
    /// What the instance may have; 0: nobody said.
    pub(crate) declared_bytes: u64,
}

impl Write {
    /// Of a measure that nothing bounds, no more than a burst counts: others would wait for a wrong one.
    fn tokens(self, bucket: &Bucket) -> u64 {
        let burst = bucket.limit().map_or(u64::MAX, |limit| limit.burst);
        self.bytes.min(burst.max(self.declared_bytes))
    }
}

/// Out of RAM: parks, and what is moved to disk.
impl Gate {
    /// When a park that writes so much may begin; what it writes is taken from what may be written.
    pub(crate) fn book_park(
        &mut self,
        tenant: TenantId,
        node: NodeId,
        write: Write,
        now: Timestamp,
    ) -> Timestamp {
        let book = |bucket: &mut Bucket| bucket.book(now, write.tokens(bucket));
        let mut at = book(&mut self.parks);
        let on_node = self
            .nodes
            .find(node)
            .is_some_and(|node| node.buckets.parks.limit().is_some());
        if on_node {
            at = at.max(self.nodes.with(node, now, |node| book(&mut node.buckets.parks)));
        }
        if let Some(parks) = self.tenants.parks(tenant) {
            at = at.max(book(parks));
        }
        if self.pace == Pace::CatchesUp {
            at = at.max(self.stalled_parks.book(now, 1));
        }
        at
    }

    /// A park that was booked does not happen.
    pub(crate) fn cancel_park(&mut self, tenant: TenantId, node: NodeId, write: Write, now: Timestamp) {
        let give_back = |bucket: &mut Bucket| bucket.give_back(now, write.tokens(bucket));
        give_back(&mut self.parks);
        let on_node = self
            .nodes
            .find(node)
            .is_some_and(|node| node.buckets.parks.limit().is_some());
        if on_node {
            self.nodes
                .with(node, now, |node| give_back(&mut node.buckets.parks));
        }
        if let Some(parks) = self.tenants.parks(tenant) {
            give_back(parks);
        }
    }

    /// What happens from now on happens while the owner keeps up, or catches up.
    pub(crate) fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }

    /// Whether what sleeps on a node is listed, to be moved out when memory is short.
    pub(crate) fn lists_sleepers(&self, node: NodeId) -> bool {
        self.nodes
            .find(node)
            .is_some_and(|node| node.is_limited() || node.pressure.was_measured())
    }

    /// Lists one that sleeps in RAM, and says under which worth.
    pub(crate) fn list(
        &mut self,
        tenant: TenantId,
        node: NodeId,
        sleeper: impl FnOnce(u64) -> Sleeper,
        of: Worth,
        now: Timestamp,
    ) -> u64 {
        self.nodes.with(node, now, |node| {
            let worth = node.cache.worth(of);
            node.cache.insert(tenant, sleeper(worth));
            worth
        })
    }

    /// It sleeps there no longer.
    pub(crate) fn unlist(&mut self, tenant: TenantId, node: NodeId, sleeper: Sleeper, now: Timestamp) {
        self.nodes
            .with(node, now, |node| node.cache.remove(tenant, sleeper));
    }

    /// So many bytes are needed on a node for a start.
    pub(super) fn make_room(&mut self, node: NodeId, bytes: u64, now: Timestamp) {
        let evicts = self.nodes.with(node, now, |node| {
            node.wanted = node.wanted.max(bytes);
            node.to_evict() > 0
        });
        if evicts {
            self.hungry.insert(node);
        }
    }

    /// The next one that has to be moved to disk, and may be.
    pub(crate) fn next_victim(
        &mut self,
        now: Timestamp,
        may: &mut dyn FnMut(Sleeper) -> bool,
    ) -> Option<Sleeper> {
        self.evict_at = None;
        let capacity = self.nodes.capacity();
        let mut later = None;
        let victim = loop {
            let Some(id) = self.hungry.first().copied() else {
                break None;
            };
            let over = self.tenants.over_share(capacity);
            let free_at = self.parks.next_at(now, 1);
            let found = self.nodes.with(id, now, |node| {
                if node.to_evict() == 0 {
                    return Ok(None);
                }
                let free_at = free_at.max(node.buckets.parks.next_at(now, 1));
                if free_at > now {
                    return Err(free_at);
                }
                let victim = node.cache.victim(over, &mut *may);
                Ok(victim)
            });
            match found {
                Ok(Some(victim)) => break Some(victim),
                Ok(None) => {}
                Err(free_at) => {
                    self.evict_at = Some(self.evict_at.map_or(free_at, |at| at.min(free_at)));
                    later
                        .get_or_insert_with(alloc::collections::BTreeSet::new)
                        .insert(id);
                }
            }
            self.hungry.remove(&id);
        };
        self.hungry.extend(later.into_iter().flatten());
        victim
    }
}
