use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::mem::take;

use crate::ids::{NodeId, ServiceId, TenantId};
use crate::limits::rotation::{Head, Ticket};
use crate::time::Timestamp;

/// How many are looked at when something became free.
const LOOKS: usize = 8;

/// Starts whose turn it was, but which find no room: they let others pass. Those that wait for one node are apart from
/// those that any node would do for.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    places: BTreeMap<Ticket, (TenantId, Side)>,
    lines: BTreeMap<Option<NodeId>, Line>,
    stranded: BTreeSet<Ticket>,
    /// When to look at which line again: once at most for each.
    due: BTreeSet<(Timestamp, Option<NodeId>)>,
    retry: BTreeSet<Option<NodeId>>,
}

/// Where one stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// With those that wait for this node, or for any.
    Line(Option<NodeId>),
    /// With those that no node there is could take.
    Stranded,
}

/// Those that the same node would do for, or any.
#[derive(Debug, Default)]
struct Line {
    tickets: BTreeSet<Ticket>,
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
            Side::Line(node) => self.lines.entry(node).or_default().tickets.insert(head.ticket),
            Side::Stranded => self.stranded.insert(head.ticket),
        };
        self.places.insert(head.ticket, (head.tenant, side));
    }

    /// Takes one back into the lines, or away; says whether it stood here.
    pub(crate) fn take(&mut self, ticket: &Ticket) -> bool {
        let Some((_, side)) = self.places.remove(ticket) else {
            return false;
        };
        match side {
            Side::Stranded => {
                self.stranded.remove(ticket);
            }
            Side::Line(node) => self.leave_line(ticket, node),
        }
        true
    }

    fn leave_line(&mut self, ticket: &Ticket, node: Option<NodeId>) {
        let Some(line) = self.lines.get_mut(&node) else {
            return;
        };
        line.tickets.remove(ticket);
        if line.tickets.is_empty() {
            if let Some(due) = line.due {
                self.due.remove(&(due, node));
            }
            self.lines.remove(&node);
        }
    }

    /// Takes all that are stranded: something changed about nodes.
    pub(crate) fn rescue(&mut self) -> Vec<Head> {
        let heads = take(&mut self.stranded).into_iter().filter_map(|ticket| {
            let (tenant, _) = self.places.remove(&ticket)?;
            Some(Head { tenant, ticket })
        });
        heads.collect()
    }

    /// Something became free that is of no node.
    pub(crate) fn freed_everywhere(&mut self) {
        self.retry.extend(self.lines.keys().copied());
    }

    /// Something became free on a node.
    pub(crate) fn freed(&mut self, node: NodeId) {
        self.look_again(Some(node));
        self.look_again(None);
    }

    /// Looks at a line again the next time.
    pub(crate) fn look_again(&mut self, node: Option<NodeId>) {
        if self.lines.contains_key(&node) {
            self.retry.insert(node);
        }
    }

    /// Looks at a line again then, if nothing happens before. Whoever is found to have to wait longer says so then.
    pub(crate) fn look_at(&mut self, at: Timestamp, node: Option<NodeId>) {
        let Some(line) = self.lines.get_mut(&node) else {
            return;
        };
        if line.due.is_some_and(|due| due <= at) {
            return;
        }
        if let Some(later) = line.due.replace(at) {
            self.due.remove(&(later, node));
        }
        self.due.insert((at, node));
    }

    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(crate) fn pass(&mut self, now: Timestamp) {
        while let Some((at, node)) = self.due.first().copied() {
            if at > now {
                break;
            }
            self.due.pop_first();
            if let Some(line) = self.lines.get_mut(&node) {
                line.due = None;
            }
            self.retry.insert(node);
        }
    }

    /// The next line to look at again, and its first few.
    pub(crate) fn next_retry(&mut self) -> Option<(Option<NodeId>, Vec<Head>)> {
        while let Some(node) = self.retry.pop_first() {
            if let Some(line) = self.lines.get(&node) {
                let first = line.tickets.iter().take(LOOKS);
                let heads = first.filter_map(|ticket| {
                    let (tenant, _) = *self.places.get(ticket)?;
                    let ticket = *ticket;
                    Some(Head { tenant, ticket })
                });
                return Some((node, heads.collect()));
            }
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
        let tickets: Vec<_> = (1..=50)
            .map(|service| {
                let at = Timestamp::from_millis(service);
                rotation.ticket(ServiceId(service), at, at)
            })
            .collect();
        for ticket in tickets.iter().rev() {
            let (tenant, ticket) = (TenantId(0), *ticket);
            aside.put(Head { tenant, ticket }, Side::Line(None));
            aside.look_at(ticket.since, None);
        }
        assert_eq!(
            (aside.due.len(), aside.next_due()),
            (1, Some(Timestamp::from_millis(1)))
        );
        aside.pass(Timestamp::from_millis(1));
        assert_eq!(aside.next_due(), None);
        aside.look_at(Timestamp::from_millis(9), None);
        for ticket in &tickets {
            aside.take(ticket);
        }
        assert_eq!((aside.waiting(), aside.next_due()), (0, None));
    }
}
