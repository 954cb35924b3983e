use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::mem;

use crate::ids::{ServiceId, TenantId};
use crate::time::Timestamp;

/// The place of a waiting start in the line of its tenant. It keeps it whatever happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    /// When it began to wait, as far as order is concerned: priority is a head start. So a start is overtaken at most
    /// by those that come within the difference.
    pub(crate) order: Timestamp,
    number: u64,
    pub(crate) service: ServiceId,
    /// When it began to wait.
    pub(crate) since: Timestamp,
}

/// Who is next: deficit round robin (Shreedhar and Varghese 1995) over the tenants that have starts waiting, in each
/// of their lines the first. A start costs its memory, so that large ones do not get more than small ones.
///
/// A turn is one start for each weight: who can afford more waits until the others had theirs. Once none can, a new
/// round gives each as much as the dearest that is first in its line costs; so what was dear once does not count for ever.
#[derive(Debug, Default)]
pub(crate) struct Rotation {
    lines: BTreeMap<TenantId, Line>,
    /// Tenants with somebody waiting, the one whose turn it is first; but not those that wait for a limit of their own.
    ring: VecDeque<TenantId>,
    /// Starts in this turn.
    turn: u32,
    /// What one weight was given in this round.
    quantum: u64,
    /// The dearest of those that could not be afforded since somebody was served, and how many they were.
    dearest: u64,
    passed: usize,
    numbers: u64,
    waiting: usize,
}

#[derive(Debug)]
struct Line {
    tickets: BTreeSet<Ticket>,
    weight: u32,
    deficit: u64,
    /// Waits for a limit of its own, out of the ring.
    held: bool,
}

/// The first of all that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) tenant: TenantId,
    pub(crate) ticket: Ticket,
}

impl Rotation {
    /// How many wait in lines.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// A new place at the end, but for its head start.
    pub(crate) fn ticket(&mut self, service: ServiceId, since: Timestamp, order: Timestamp) -> Ticket {
        self.numbers = self.numbers.saturating_add(1);
        Ticket {
            order,
            number: self.numbers,
            service,
            since,
        }
    }

    /// Puts somebody into the line of a tenant.
    pub(crate) fn enqueue(&mut self, tenant: TenantId, weight: u32, ticket: Ticket) {
        let line = self.lines.entry(tenant).or_insert_with(|| {
            self.ring.push_back(tenant);
            // It takes part in this round like the others.
            Line {
                tickets: BTreeSet::new(),
                weight,
                deficit: share(self.quantum, weight),
                held: false,
            }
        });
        if line.tickets.insert(ticket) {
            self.waiting += 1;
        }
    }

    /// A tenant has another weight.
    pub(crate) fn weigh(&mut self, tenant: TenantId, weight: u32) {
        if let Some(line) = self.lines.get_mut(&tenant) {
            line.weight = weight;
        }
    }

    /// Whose turn it is.
    pub(crate) fn head(&mut self) -> Option<Head> {
        loop {
            let tenant = *self.ring.front()?;
            let first = self.lines.get(&tenant).and_then(|line| line.tickets.first());
            if let Some(ticket) = first.copied() {
                return Some(Head { tenant, ticket });
            }
            // All of its line left it.
            self.lines.remove(&tenant);
            self.leave_ring();
        }
    }

    /// Takes one out of the line of a tenant; says whether it stood there.
    pub(crate) fn take(&mut self, tenant: TenantId, ticket: &Ticket) -> bool {
        let Some(line) = self.lines.get_mut(&tenant) else {
            return false;
        };
        let stood = line.tickets.remove(ticket);
        self.waiting -= usize::from(stood);
        if line.tickets.is_empty() && line.held {
            self.lines.remove(&tenant);
        }
        stood
    }

    /// Whether the first one may be served at this price now. If not, its turn is over and the next one is first.
    pub(crate) fn affords(&mut self, cost: u64) -> bool {
        let Some(line) = self.ring.front().and_then(|tenant| self.lines.get(tenant)) else {
            return false;
        };
        if line.deficit >= cost {
            return true;
        }
        self.dearest = self.dearest.max(cost);
        self.passed += 1;
        self.turn = 0;
        self.ring.rotate_left(1);
        if self.passed >= self.ring.len() {
            self.begin_round();
        }
        false
    }

    fn begin_round(&mut self) {
        self.quantum = mem::take(&mut self.dearest);
        self.passed = 0;
        for tenant in &self.ring {
            if let Some(line) = self.lines.get_mut(tenant) {
                line.deficit = line.deficit.saturating_add(share(self.quantum, line.weight));
            }
        }
    }

    /// The first one is served at this price.
    pub(crate) fn serve(&mut self, cost: u64) {
        (self.dearest, self.passed) = (0, 0);
        self.turn = self.turn.saturating_add(1);
        let mut is_over = false;
        if let Some(line) = self.ring.front().and_then(|tenant| self.lines.get_mut(tenant)) {
            line.deficit = line.deficit.saturating_sub(cost);
            is_over = self.turn >= line.weight && line.tickets.len() > 1;
        }
        self.pop();
        if is_over {
            self.turn = 0;
            self.ring.rotate_left(1);
        }
    }

    /// The first one leaves its line.
    pub(crate) fn pop(&mut self) {
        let Some(tenant) = self.ring.front().copied() else {
            return;
        };
        let Some(line) = self.lines.get_mut(&tenant) else {
            return;
        };
        if line.tickets.pop_first().is_some() {
            self.waiting -= 1;
        }
        if line.tickets.is_empty() {
            self.lines.remove(&tenant);
            self.leave_ring();
        }
    }

    /// The tenant whose turn it is waits for a limit of its own.
    pub(crate) fn hold(&mut self) {
        if let Some(line) = self.ring.front().and_then(|tenant| self.lines.get_mut(tenant)) {
            line.held = true;
            self.leave_ring();
        }
    }

    fn leave_ring(&mut self) {
        self.turn = 0;
        self.ring.pop_front();
    }

    /// It waits no longer.
    pub(crate) fn resume(&mut self, tenant: TenantId) {
        if let Some(line) = self.lines.get_mut(&tenant)
            && line.held
        {
            line.held = false;
            line.deficit = share(self.quantum, line.weight);
            self.ring.push_back(tenant);
        }
    }

    /// Services with somebody waiting, each as often as it waits.
    pub(crate) fn services(&self) -> impl Iterator<Item = ServiceId> {
        let tickets = self.lines.values().flat_map(|line| &line.tickets);
        tickets.map(|ticket| ticket.service)
    }
}

/// What a tenant of this weight is given in a round.
fn share(quantum: u64, weight: u32) -> u64 {
    quantum.saturating_mul(u64::from(weight.max(1)))
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn ms(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn enqueue(rotation: &mut Rotation, tenant: u64, weight: u32, service: u64) {
        let ticket = rotation.ticket(ServiceId(service), ms(0), ms(0));
        rotation.enqueue(TenantId(tenant), weight, ticket);
    }

    fn serve(rotation: &mut Rotation, cost: u64) -> Option<Head> {
        loop {
            let head = rotation.head()?;
            if rotation.affords(cost) {
                rotation.serve(cost);
                return Some(head);
            }
        }
    }

    #[test]
    fn tenants_take_turns_however_many_wait_for_one() {
        let mut rotation = Rotation::default();
        for service in 0..10 {
            enqueue(&mut rotation, 1, 1, service);
        }
        enqueue(&mut rotation, 2, 1, 100);
        let served: Vec<_> = (0..4)
            .filter_map(|_| serve(&mut rotation, 1))
            .map(|head| head.ticket.service.0)
            .collect();
        assert_eq!(served, [0, 100, 1, 2]);
    }

    #[test]
    fn shares_follow_the_weights() {
        let mut rotation = Rotation::default();
        for service in 0..100 {
            enqueue(&mut rotation, 1, 3, service);
            enqueue(&mut rotation, 2, 1, service);
        }
        let served: Vec<_> = (0..80).filter_map(|_| serve(&mut rotation, 5)).collect();
        let first = served.iter().filter(|head| head.tenant == TenantId(1)).count();
        assert_eq!(first, 60);
    }

    #[test]
    fn a_dear_start_gives_nobody_a_turn_that_others_wait_long_for() {
        let mut rotation = Rotation::default();
        enqueue(&mut rotation, 1, 1, 1);
        enqueue(&mut rotation, 1, 1, 1);
        assert!(serve(&mut rotation, 1_000_000).is_some() && serve(&mut rotation, 1).is_some());
        for service in 0..1_000 {
            enqueue(&mut rotation, 2, 1, service);
        }
        for _ in 0..10 {
            serve(&mut rotation, 1);
        }
        enqueue(&mut rotation, 3, 1, 1);
        let next = [serve(&mut rotation, 1), serve(&mut rotation, 1)];
        let tenants = next.map(|head| head.map(|head| head.tenant.0));
        assert!(tenants.contains(&Some(3)), "{tenants:?}");
    }

    #[test]
    fn priority_is_a_head_start_that_waiting_makes_up_for() {
        let mut rotation = Rotation::default();
        let mut wait = |service, since, order| {
            let ticket = rotation.ticket(ServiceId(service), ms(since), ms(order));
            rotation.enqueue(TenantId(1), 1, ticket);
        };
        wait(1, 1_000, 1_000);
        wait(2, 1_050, 950);
        wait(3, 1_150, 1_050);
        let served: Vec<_> = (0..3)
            .filter_map(|_| serve(&mut rotation, 1))
            .map(|head| head.ticket.service.0)
            .collect();
        assert_eq!(served, [2, 1, 3]);
    }

    #[test]
    fn a_tenant_at_a_limit_of_its_own_holds_up_nobody_else() {
        let mut rotation = Rotation::default();
        enqueue(&mut rotation, 1, 1, 1);
        enqueue(&mut rotation, 2, 1, 2);
        rotation.hold();
        assert_eq!(serve(&mut rotation, 1).map(|head| head.tenant), Some(TenantId(2)));
        assert_eq!(serve(&mut rotation, 1), None);
        rotation.resume(TenantId(1));
        assert_eq!(serve(&mut rotation, 1).map(|head| head.tenant), Some(TenantId(1)));
        assert_eq!(rotation.waiting(), 0);
    }

    proptest! {
        /// While two tenants wait all the time, what they are given differs from their weights by less than two turns.
        #[test]
        fn nobody_gets_more_than_a_turn_beyond_its_share(
            weights in (1..5_u32, 1..5_u32),
            costs in vec(1..20_u64, 20..200),
        ) {
            let mut rotation = Rotation::default();
            for service in 0..400 {
                enqueue(&mut rotation, 1, weights.0, service);
                enqueue(&mut rotation, 2, weights.1, service);
            }
            let (mut given, mut cost_of) = ([0_u64; 2], costs.iter().cycle());
            for _ in 0..200 {
                let cost = *cost_of.next().expect("a cycle does not end");
                let head = serve(&mut rotation, cost).expect("both wait");
                given[usize::from(head.tenant == TenantId(2))] += cost;
            }
            let (a, b) = (given[0] * u64::from(weights.1), given[1] * u64::from(weights.0));
            let turn = 20 * u64::from(weights.0) * u64::from(weights.1);
            prop_assert!(a.abs_diff(b) <= 2 * turn + 40 * 5, "{given:?} for {weights:?}");
        }

        /// Every one that waits is served after at most as many others as there are turns before it.
        #[test]
        fn everybody_is_served(waits in vec((1..4_u64, 1..50_u64), 1..100)) {
            let mut rotation = Rotation::default();
            for (service, (tenant, _)) in waits.iter().enumerate() {
                enqueue(&mut rotation, *tenant, 1, service as u64);
            }
            let mut served: Vec<_> = waits
                .iter()
                .filter_map(|(_, cost)| serve(&mut rotation, *cost))
                .map(|head| head.ticket.service.0)
                .collect();
            served.sort_unstable();
            prop_assert_eq!(served, (0..waits.len() as u64).collect::<Vec<_>>());
        }
    }
}
