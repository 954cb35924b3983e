use alloc::collections::{BTreeMap, BTreeSet};

use crate::ids::{InstanceId, ServiceId, TenantId};

/// What sleeps in the RAM of one node, in the order in which it is moved out: greedy-dual size frequency (Cherkasova
/// 1998; for keep-alive: Fuerst and Sharma 2021). The worth of an instance is the clock when it fell asleep plus how
/// often its service is asked for, times what a wake from disk costs more, by its size; the clock is the worth of the
/// last one moved out, so that nobody stays for what it was once worth.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    clock: u64,
    lines: BTreeMap<TenantId, BTreeSet<Sleeper>>,
    /// The first of each line.
    heads: BTreeSet<(Sleeper, TenantId)>,
}

/// One that could be moved out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sleeper {
    pub(crate) worth: u64,
    pub(crate) service: ServiceId,
    pub(crate) instance: InstanceId,
}

/// What the worth of an instance follows from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Worth {
    /// Requests of its service.
    pub(crate) frequency: u64,
    /// What a wake takes longer when it was moved out.
    pub(crate) cost_micros: u64,
    pub(crate) size_bytes: u64,
}

/// How many are looked at for one that may be moved out.
const LOOKS: usize = 16;

impl Cache {
    /// The worth of one that falls asleep now.
    pub(crate) fn worth(&self, of: Worth) -> u64 {
        let pages = u128::from((of.size_bytes >> 12).max(1));
        let gain = u128::from(of.frequency) * u128::from(of.cost_micros) * 1_024 / pages;
        self.clock.saturating_add(u64::try_from(gain).unwrap_or(u64::MAX))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.lines.values().map(BTreeSet::len).sum()
    }

    pub(crate) fn contains(&self, tenant: TenantId, sleeper: Sleeper) -> bool {
        self.lines
            .get(&tenant)
            .is_some_and(|line| line.contains(&sleeper))
    }

    pub(crate) fn insert(&mut self, tenant: TenantId, sleeper: Sleeper) {
        self.change(tenant, |line| {
            line.insert(sleeper);
        });
    }

    pub(crate) fn remove(&mut self, tenant: TenantId, sleeper: Sleeper) {
        self.change(tenant, |line| {
            line.remove(&sleeper);
        });
    }

    /// Who is moved out next: of the tenants in `first` if possible, else of any; only one that `may` be. It stays in
    /// until it is removed.
    pub(crate) fn victim(
        &mut self,
        first: impl Iterator<Item = TenantId>,
        mut may: impl FnMut(Sleeper) -> bool,
    ) -> Option<Sleeper> {
        let of_first = first
            .take(LOOKS)
            .filter_map(|tenant| self.lines.get(&tenant))
            .flat_map(|line| line.iter().take(LOOKS));
        let mut all = of_first.copied().chain(
            self.heads
                .iter()
                .take(LOOKS)
                .filter_map(|(_, tenant)| self.lines.get(tenant))
                .flat_map(|line| line.iter().take(LOOKS))
                .copied(),
        );
        let victim = all.find(|sleeper| may(*sleeper))?;
        self.clock = self.clock.max(victim.worth);
        Some(victim)
    }

    fn change(&mut self, tenant: TenantId, change: impl FnOnce(&mut BTreeSet<Sleeper>)) {
        let line = self.lines.entry(tenant).or_default();
        let before = line.first().copied();
        change(line);
        let after = line.first().copied();
        if after.is_none() {
            self.lines.remove(&tenant);
        }
        if before == after {
            return;
        }
        if let Some(before) = before {
            self.heads.remove(&(before, tenant));
        }
        if let Some(after) = after {
            self.heads.insert((after, tenant));
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::iter::empty;

    use super::*;

    const ONE: TenantId = TenantId(1);

    fn sleeper(instance: u64, worth: u64) -> Sleeper {
        Sleeper {
            worth,
            service: ServiceId(instance),
            instance: InstanceId(instance),
        }
    }

    fn worth(cache: &Cache, frequency: u64, size_bytes: u64) -> u64 {
        cache.worth(Worth {
            frequency,
            cost_micros: 15_000,
            size_bytes,
        })
    }

    fn out(cache: &mut Cache, tenant: TenantId) -> Option<u64> {
        let victim = cache.victim(empty(), |_| true)?;
        cache.remove(tenant, victim);
        Some(victim.instance.0)
    }

    #[test]
    fn rarely_used_and_large_ones_go_first() {
        let mut cache = Cache::default();
        for (instance, frequency, size) in [(1, 10, 1 << 20), (2, 1, 1 << 20), (3, 10, 64 << 20)] {
            let worth = worth(&cache, frequency, size);
            cache.insert(ONE, sleeper(instance, worth));
        }
        let order: Vec<_> = (0..3).filter_map(|_| out(&mut cache, ONE)).collect();
        assert_eq!(order, [3, 2, 1]);
        assert!(cache.is_empty());
    }

    #[test]
    fn past_fame_fades_as_others_are_moved_out() {
        let mut cache = Cache::default();
        let famous = worth(&cache, 5, 1 << 20);
        cache.insert(ONE, sleeper(1, famous));
        for instance in 2..9 {
            let worth = worth(&cache, 1, 1 << 20);
            cache.insert(ONE, sleeper(instance, worth));
            if out(&mut cache, ONE) == Some(1) {
                return;
            }
        }
        panic!("the famous one stayed for ever");
    }

    #[test]
    fn tenants_over_their_share_go_first_and_who_may_not_go_stays() {
        let mut cache = Cache::default();
        cache.insert(ONE, sleeper(1, 1));
        cache.insert(TenantId(2), sleeper(2, 50));
        cache.insert(TenantId(2), sleeper(3, 60));
        let victim = cache.victim([TenantId(2)].into_iter(), |_| true);
        assert_eq!(victim, Some(sleeper(2, 50)));
        let victim = cache.victim([TenantId(2)].into_iter(), |one| one.instance != InstanceId(2));
        assert_eq!(victim, Some(sleeper(3, 60)));
        let victim = cache.victim(empty(), |one| one.instance == InstanceId(9));
        assert_eq!(victim, None);
    }
}
