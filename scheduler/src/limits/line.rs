use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::ids::{ServiceId, TenantId};
use crate::limits::aside::Side;
use crate::limits::ask::{Ask, AskOf, Next};
use crate::limits::blocked::{Blocked, Scope};
use crate::limits::gate::Gate;
use crate::limits::rotation::{Head, Ticket};
use crate::time::Timestamp;

/// The least that a start costs its tenant in the rotation, in bytes.
const LEAST_COST: u64 = 16 << 20;

/// Who waits, in which order, and who is served next.
impl Gate {
    /// A place in line for one start.
    pub(crate) fn wait(&mut self, ask: &Ask, now: Timestamp) -> Ticket {
        let behind = u32::from(u8::MAX - ask.priority);
        let order = now + self.config.priority_step.saturating_mul(behind);
        let ticket = self.rotation.ticket(ask.service, now, order);
        let tenant = ask.tenant;
        self.back_in_line(Head { tenant, ticket });
        ticket
    }

    /// Gives up a place in line.
    pub(crate) fn leave(&mut self, tenant: TenantId, ticket: &Ticket, now: Timestamp) {
        if !self.aside.take(ticket) {
            self.rotation.take(tenant, ticket);
        }
        self.unkeep(ticket.service, now);
    }

    /// Something else is asked for at this place in line, for another tenant perhaps: who stands aside tries again.
    pub(crate) fn ask_again(&mut self, was: TenantId, head: Head) {
        if self.aside.take(&head.ticket) || self.rotation.take(was, &head.ticket) {
            self.back_in_line(head);
        }
    }

    /// Serves the next one in line, if anybody can be served; `ask_of` says what a service wants now, if anything.
    pub(crate) fn next(&mut self, now: Timestamp, ask_of: AskOf<'_>) -> Option<Next> {
        while let Some((at, tenant)) = self.held.first().copied()
            && at <= now
        {
            self.held.pop_first();
            self.rotation.resume(tenant);
        }
        self.end_keeping(now);
        self.aside.pass(now);
        if let Some(stale) = self.look_aside(now, ask_of) {
            return Some(stale);
        }
        self.starts_at = None;
        while let Some(head) = self.rotation.head() {
            let service = head.ticket.service;
            let Some(ask) = ask_of(self, service) else {
                self.rotation.pop();
                self.unkeep(service, now);
                return Some(Next::Stale(head.ticket));
            };
            match self.choose(&ask, now) {
                Ok(node) => {
                    let cost = ask.bytes.max(LEAST_COST);
                    if self.rotation.affords(cost) {
                        self.rotation.serve(cost);
                        return Some(Next::Start(head.ticket, node));
                    }
                }
                Err(Blocked::StartRate {
                    scope: Scope::All,
                    free_at,
                    ..
                }) => {
                    self.starts_at = Some(free_at);
                    return None;
                }
                Err(blocked) => self.step_aside(head, &ask, blocked, now),
            }
        }
        // What was kept for somebody who stepped aside may be what others wait for.
        match self.aside.is_to_look() {
            true => self.next(now, ask_of),
            false => None,
        }
    }

    /// Services with a start waiting.
    pub(crate) fn waiting_services(&self) -> BTreeSet<ServiceId> {
        self.rotation.services().chain(self.aside.services()).collect()
    }

    /// Whoever is stranded tries again.
    pub(super) fn rescue(&mut self) {
        for head in self.aside.rescue() {
            self.back_in_line(head);
        }
    }

    pub(super) fn back_in_line(&mut self, head: Head) {
        let weight = self.tenants.weight(head.tenant);
        self.rotation.enqueue(head.tenant, weight, head.ticket);
    }

    /// The first one in line cannot be served: those behind it go on.
    fn step_aside(&mut self, head: Head, ask: &Ask, blocked: Blocked, now: Timestamp) {
        if !blocked.is_memory() && !matches!(blocked, Blocked::StartRate { .. }) {
            self.unkeep(ask.service, now);
        }
        match blocked {
            Blocked::StartRate {
                scope: Scope::Tenant(tenant),
                free_at,
                ..
            } => {
                self.rotation.hold();
                self.held.insert((free_at, tenant));
            }
            Blocked::Instances { .. } => self.rotation.hold(),
            Blocked::TenantMemory {
                needs_bytes,
                max_bytes,
                ..
            } if needs_bytes <= max_bytes => self.rotation.hold(),
            Blocked::StartRate { free_at, .. } => {
                self.rotation.pop();
                self.aside.put(head, Side::Line(ask.sought(), ask.more()));
                self.aside.look_at(free_at, ask.sought());
            }
            Blocked::Memory { .. } | Blocked::Reserved { .. } => {
                self.rotation.pop();
                self.aside.put(head, Side::Line(ask.sought(), ask.more()));
                self.lacks_memory(head, ask, blocked, now);
            }
            _ => {
                self.rotation.pop();
                self.aside.put(head, Side::Stranded);
            }
        }
    }

    /// Those aside for whom something may have become free. Returns one that wants nothing any more.
    fn look_aside(&mut self, now: Timestamp, ask_of: AskOf<'_>) -> Option<Next> {
        let (mut again, mut stale) = (Vec::new(), None);
        'lines: while let Some((line, heads)) = self.aside.next_retry() {
            let mut has_room = false;
            for head in heads {
                let service = head.ticket.service;
                let Some(ask) = ask_of(self, service) else {
                    self.aside.take(&head.ticket);
                    self.unkeep(service, now);
                    again.push(line);
                    stale = Some(Next::Stale(head.ticket));
                    break 'lines;
                };
                let chosen = self.choose(&ask, now);
                has_room |= chosen.is_ok();
                match chosen {
                    Err(blocked) if blocked.is_memory() && ask.sought() == line => {
                        self.lacks_memory(head, &ask, blocked, now);
                    }
                    Err(Blocked::StartRate {
                        scope: Scope::Node(_),
                        free_at,
                        ..
                    }) if ask.sought() == line => self.aside.look_at(free_at, line),
                    _ => {
                        self.aside.take(&head.ticket);
                        self.back_in_line(head);
                    }
                }
            }
            if has_room {
                again.push(line);
            }
        }
        // Once one of them has started, there may be enough for those behind them too.
        for line in again {
            self.aside.look_again(line);
        }
        stale
    }

    /// Room is made for it; after a while, what becomes free is kept for it.
    fn lacks_memory(&mut self, head: Head, ask: &Ask, blocked: Blocked, now: Timestamp) {
        let (node, free) = match blocked {
            Blocked::Memory { node, free_bytes, .. } => (node, free_bytes),
            Blocked::Reserved { node, .. } => (node, 0),
            _ => return,
        };
        let patience_ends = head.ticket.since + self.config.reserve_after;
        if patience_ends > now {
            self.aside.look_at(patience_ends, ask.sought());
        } else {
            self.keep(ask, node, now);
        }
        self.make_room(node, ask.more().saturating_sub(free), now);
    }
}
