use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use core::time::Duration;

use crate::context::Cx;
use crate::ids::NodeId;
use crate::limits::{Ask, Blocked, Gate, Head, Purpose, Spot, Ticket};
use crate::reason::Reason;
use crate::service::Service;
use crate::time::Timestamp;

/// Places in line, and what is asked for there.
#[derive(Debug)]
pub(crate) struct InLine {
    tickets: BTreeSet<Ticket>,
    ask: Ask,
}

/// Starts that have to wait for a limit.
impl Service {
    /// Starts one more instance, or waits for its turn. Says whether it started.
    pub(super) fn start_or_wait(&mut self, cx: &mut Cx<'_>, reason: Reason) -> bool {
        if self.line.is_none() && self.start_any(cx, reason).is_some() {
            return true;
        }
        self.take_tickets(cx);
        false
    }

    /// How many places in line it has.
    pub(super) fn tickets(&self) -> u32 {
        let tickets = self.line.as_ref().map_or(0, |line| line.tickets.len());
        u32::try_from(tickets).unwrap_or(u32::MAX)
    }

    /// As many places in line as starts are wanted.
    fn take_tickets(&mut self, cx: &mut Cx<'_>) {
        let Some(ask) = self.ask(&cx.shared.gate) else {
            return;
        };
        let wanted = self.tickets()..self.starts_wanted();
        let line = self.line.get_or_insert_with(|| {
            let tickets = BTreeSet::new();
            Box::new(InLine { tickets, ask })
        });
        for _ in wanted {
            let ticket = cx.shared.gate.wait(&ask, cx.shared.now);
            line.tickets.insert(ticket);
        }
    }

    /// Gives up its places in line once it wants nothing, and tries again where it is in line once it wants something
    /// else: what was in the way may not be any more.
    pub(super) fn stay_in_line(&mut self, cx: &mut Cx<'_>) {
        let Some(mut line) = self.line.take() else {
            return;
        };
        let (gate, now) = (&mut cx.shared.gate, cx.shared.now);
        let was = line.ask.tenant;
        let Some(ask) = self.wants(gate, now) else {
            for ticket in &line.tickets {
                gate.leave(was, ticket, now);
            }
            return;
        };
        if !ask.is_like(&line.ask) {
            for &ticket in &line.tickets {
                let tenant = ask.tenant;
                gate.ask_again(was, Head { tenant, ticket });
            }
        }
        line.ask = ask;
        self.line = Some(line);
    }

    /// A place in line was served, or given up.
    fn left_line(&mut self, ticket: &Ticket) {
        self.line.take_if(|line| {
            line.tickets.remove(ticket);
            line.tickets.is_empty()
        });
    }

    /// What the next start would need, wanted or not; `None` if there may be no more instances.
    pub(super) fn ask(&self, gate: &Gate) -> Option<Ask> {
        let sleeper = self.fleet.first_called().or_else(|| self.fleet.first_parked());
        match sleeper.and_then(|id| self.fleet.find(id)) {
            None => self.ask_new(gate),
            Some(sleeper) => Some(Ask {
                bytes: self.awake_bytes(gate, sleeper.resident_bytes),
                held_bytes: sleeper.charge.map_or(0, |charge| charge.bytes),
                ..self.ask_for(gate, Purpose::Wake, Spot::On(sleeper.node))
            }),
        }
    }

    /// What one more instance would need; `None` if there may be no more.
    pub(super) fn ask_new(&self, gate: &Gate) -> Option<Ask> {
        let is_room = self.fleet.kept() < self.config.max_instances;
        is_room.then(|| self.ask_for(gate, Purpose::New, Spot::Near(self.near)))
    }

    fn ask_for(&self, gate: &Gate, purpose: Purpose, spot: Spot) -> Ask {
        let index = self.fleet.index();
        let below_min = index.serving + index.arriving < self.min_awake();
        Ask {
            service: self.id,
            tenant: self.config.resources.tenant,
            priority: self.config.resources.priority,
            purpose: if below_min { Purpose::Min } else { purpose },
            spot,
            bytes: self.awake_bytes(gate, 0),
            held_bytes: 0,
        }
    }

    /// What the service waits for, if it wants to start something.
    pub(crate) fn wants(&self, gate: &Gate, now: Timestamp) -> Option<Ask> {
        self.wanted_start(now)?;
        self.ask(gate)
    }

    /// How many more instances should run.
    fn starts_wanted(&self) -> u32 {
        let index = self.fleet.index();
        let uncovered = u64::from(self.requests.waiting()).saturating_sub(self.fleet.arriving_slots());
        let for_requests = uncovered.div_ceil(u64::from(self.config.concurrency.max(1)));
        let for_requests = u32::try_from(for_requests).unwrap_or(u32::MAX);
        let on = index.serving + index.arriving;
        let for_min = self.least_awake().saturating_sub(on);
        let most = self.config.max_instances.saturating_sub(on + index.parking);
        for_requests.max(for_min).max(1).min(most.max(1))
    }

    /// It is the service's turn: one start, on this node.
    pub(crate) fn granted(&mut self, cx: &mut Cx<'_>, ticket: &Ticket, node: NodeId) {
        self.left_line(ticket);
        let wanted = self.wanted_start(cx.now());
        if let (Some(reason), Some(ask)) = (wanted, self.ask(&cx.shared.gate)) {
            self.start_on(cx, &ask, node, reason);
        }
        self.dispatch(cx);
    }

    /// A place in line was given up, for nothing was wanted.
    pub(crate) fn ticket_void(&mut self, cx: &mut Cx<'_>, ticket: &Ticket) {
        self.left_line(ticket);
        self.dispatch(cx);
    }

    /// What keeps a wanted start from happening.
    pub(crate) fn blocked(&self, gate: &Gate, now: Timestamp) -> Option<Blocked> {
        self.line.as_ref()?;
        Some(gate.why(&self.wants(gate, now)?, now))
    }

    /// When trying again may help somebody who was shed: as told by the limit in the way, if one is.
    pub(super) fn retry_after(&self, cx: &Cx<'_>) -> Duration {
        let configured = self.config.queue.retry_after;
        self.blocked(&cx.shared.gate, cx.now())
            .and_then(|blocked| blocked.retry_after(cx.now()))
            .map_or(configured, |limit| limit.max(configured))
    }

    /// A node has almost no memory left: who is not important enough and needs a start is shed.
    pub(crate) fn brown_out(&mut self, cx: &mut Cx<'_>) {
        let blocked = self.blocked(&cx.shared.gate, cx.now());
        if let Some(Blocked::BrownOut {
            node,
            available_bytes,
            ..
        }) = blocked
        {
            let reason = Reason::BrownOut {
                node,
                available_bytes,
            };
            self.shed_all(cx, self.config.queue.retry_after, reason);
            self.dispatch(cx);
        }
    }
}
