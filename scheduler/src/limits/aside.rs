use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::ids::{NodeId, ServiceId, TenantId};
use crate::limits::node::Purpose;
use crate::limits::rotation::{Head, Ticket};
use crate::time::Timestamp;

/// How many of a line are looked at when something became free: of those that came first, and of the smallest.
const LOOKS: usize = 8;

/// Starts whose turn it was, but which find no room: they let others pass. Those of a line have the same in their way, so
/// that where the smallest finds no room none does.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    places: BTreeMap<Ticket, (TenantId, Side)>,
    lines: BTreeMap<Sought, Line>,
    stranded: BTreeMap<TenantId, BTreeSet<Ticket>>,
    /// When to look at which line again: once at most for each.
    due: BTreeSet<(Timestamp, Sought)>,
    retry: BTreeSet<Sought>,
}

/// Room of which kind is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sought {
    /// On this node, or on any.
    pub(crate) node: Option<NodeId>,
    /// Up to which water that is.
    pub(crate) purpose: Purpose,
}

/// Where one stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// With those that look for the same room, for so many bytes.
    Line(Sought, u64),
    /// With those that no node there is could take.
    Stranded,
}

/// Those that look for the same room.
#[derive(Debug, Default)]
struct Line {
    tickets: BTreeSet<Ticket>,
    by_size: BTreeSet<(u64, Ticket)>,
    /// When it is looked at again, if that is known: its place in `due`.
    due: Option<Timestamp>,
}

impl Aside {
    /// How many stand aside.
    pub(crate) fn waiting(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn put(&mut self, head: Head, side: Side) {
        match side {
            Side::Line(sought, bytes) => {
                let line = self.lines.entry(sought).or_default();
                line.tickets.insert(head.ticket);
                line.by_size.insert((bytes, head.ticket));
            }
            Side::Stranded => {
                let stranded = self.stranded.entry(head.tenant).or_default();
                stranded.insert(head.ticket);
            }
        }
        self.places.insert(head.ticket, (head.tenant, side));
    }

    /// Takes one back into the lines, or away; says whether it stood here.
    pub(crate) fn take(&mut self, ticket: &Ticket) -> bool {
        let Some((tenant, side)) = self.places.remove(ticket) else {
            return false;
        };
        match side {
            Side::Stranded => {
                if let Some(stranded) = self.stranded.get_mut(&tenant) {
                    stranded.remove(ticket);
                    if stranded.is_empty() {
                        self.stranded.remove(&tenant);
                    }
                }
            }
            Side::Line(sought, bytes) => self.leave_line(ticket, sought, bytes),
        }
        true
    }

    fn leave_line(&mut self, ticket: &Ticket, sought: Sought, bytes: u64) {
        let Some(line) = self.lines.get_mut(&sought) else {
            return;
        };
        line.tickets.remove(ticket);
        line.by_size.remove(&(bytes, *ticket));
        if line.tickets.is_empty() {
            if let Some(due) = line.due {
                self.due.remove(&(due, sought));
            }
            self.lines.remove(&sought);
        }
    }

    /// Takes all that are stranded: something changed about nodes.
    pub(crate) fn rescue(&mut self) -> Vec<Head> {
        let tenants: Vec<_> = self.stranded.keys().copied().collect();
        tenants
            .into_iter()
            .flat_map(|tenant| self.rescue_of(tenant))
            .collect()
    }

    /// Takes those of a tenant that are stranded: what it may have changed.
    pub(crate) fn rescue_of(&mut self, tenant: TenantId) -> Vec<Head> {
        let stranded = self.stranded.remove(&tenant).unwrap_or_default();
        let heads = stranded.into_iter().map(|ticket| {
            self.places.remove(&ticket);
            Head { tenant, ticket }
        });
        heads.collect()
    }

    /// Something became free that is of no node.
    pub(crate) fn freed_everywhere(&mut self) {
        self.retry.extend(self.lines.keys().copied());
    }

    /// Something became free on a node.
    pub(crate) fn freed(&mut self, node: NodeId) {
        for node in [Some(node), None] {
            for purpose in Purpose::ALL {
                self.look_again(Sought { node, purpose });
            }
        }
    }

    /// Looks at a line again the next time.
    pub(crate) fn look_again(&mut self, sought: Sought) {
        if self.lines.contains_key(&sought) {
            self.retry.insert(sought);
        }
    }

    /// Looks at a line again then, if nothing happens before. Whoever is found to have to wait longer says so then.
    pub(crate) fn look_at(&mut self, at: Timestamp, sought: Sought) {
        let Some(line) = self.lines.get_mut(&sought) else {
            return;
        };
        if line.due.is_some_and(|due| due <= at) {
            return;
        }
        if let Some(later) = line.due.replace(at) {
            self.due.remove(&(later, sought));
        }
        self.due.insert((at, sought));
    }

    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(crate) fn pass(&mut self, now: Timestamp) {
        while let Some((at, sought)) = self.due.first().copied() {
            if at > now {
                break;
            }
            self.due.pop_first();
            if let Some(line) = self.lines.get_mut(&sought) {
                line.due = None;
            }
            self.retry.insert(sought);
        }
    }

    /// Whether a line is to be looked at again.
    pub(crate) fn is_to_look(&self) -> bool {
        !self.retry.is_empty()
    }

    /// The next line to look at again, and of those in it the first few and, behind them, the smallest few.
    pub(crate) fn next_retry(&mut self) -> Option<(Sought, Vec<Head>)> {
        while let Some(sought) = self.retry.pop_first() {
            let Some(line) = self.lines.get(&sought) else {
                continue;
            };
            let mut tickets: Vec<_> = line.tickets.iter().take(LOOKS).collect();
            for (_, ticket) in line.by_size.iter().take(LOOKS) {
                if !tickets.contains(&ticket) {
                    tickets.push(ticket);
                }
            }
            let heads = tickets.into_iter().filter_map(|ticket| {
                let (tenant, _) = *self.places.get(ticket)?;
                let ticket = *ticket;
                Some(Head { tenant, ticket })
            });
            return Some((sought, heads.collect()));
        }
        None
    }

    /// Services with somebody aside, each as often as it waits.
    pub(crate) fn services(&self) -> impl Iterator<Item = ServiceId> {
        self.places.keys().map(|ticket| ticket.service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::rotation::Rotation;

    #[test]
    fn a_line_is_due_once_at_its_earliest_and_not_without_anybody_in_it() {
        let (mut rotation, mut aside) = (Rotation::default(), Aside::default());
        let anywhere = Sought {
            node: None,
            purpose: Purpose::New,
        };
        let tickets: Vec<_> = (1..=50)
            .map(|service| {
                let at = Timestamp::from_millis(service);
                rotation.ticket(ServiceId(service), at, at)
            })
            .collect();
        for ticket in tickets.iter().rev() {
            let (tenant, ticket) = (TenantId(0), *ticket);
            aside.put(Head { tenant, ticket }, Side::Line(anywhere, 1));
            aside.look_at(ticket.since, anywhere);
        }
        assert_eq!(
            (aside.due.len(), aside.next_due()),
            (1, Some(Timestamp::from_millis(1)))
        );
        aside.pass(Timestamp::from_millis(1));
        assert_eq!(aside.next_due(), None);
        aside.look_at(Timestamp::from_millis(9), anywhere);
        for ticket in &tickets {
            aside.take(ticket);
        }
        assert_eq!((aside.waiting(), aside.next_due()), (0, None));
    }
}
