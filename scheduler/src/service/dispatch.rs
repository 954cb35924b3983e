use crate::action::{Command, StartKind};
use crate::config::StartSource;
use crate::context::Cx;
use crate::ids::{InstanceId, NodeId};
use crate::instance::{Instance, State};
use crate::limits::{Ask, Purpose};
use crate::reason::Reason;
use crate::service::{Service, Standing};
use crate::time::Timestamp;
use crate::timers::TimerKey;

/// What follows from the level of things, whatever the event was: admit, then start what is missing.
impl Service {
    pub(super) fn dispatch(&mut self, cx: &mut Cx<'_>) {
        while let (Some(waiter), Some(instance)) = (self.requests.front(), self.fleet.first_free()) {
            self.observe_wait(cx, waiter);
            self.admit(cx, waiter, instance);
        }
        while let Some(reason) = self.wanted_start(cx.now()) {
            if !self.start_or_wait(cx, reason) {
                break;
            }
        }
        let wait = self
            .requests
            .front()
            .map(|waiter| waiter.since + self.config.queue.max_wait);
        cx.shared
            .timers
            .set(self.key(TimerKey::Wait), &mut self.wait, wait);
    }

    /// Why one more instance should run, if one should.
    pub(super) fn wanted_start(&self, now: Timestamp) -> Option<Reason> {
        if self.standing == Standing::Removed || self.backoff.is_some_and(|until| until.at > now) {
            return None;
        }
        if self.is_probing() {
            return None;
        }
        let called = self
            .fleet
            .first_called()
            .and_then(|id| self.fleet.find(id)?.active_connection());
        if let Some(connection) = called {
            return Some(Reason::ConnectionActive { connection });
        }
        let (waiting, index) = (self.requests.waiting(), self.fleet.index());
        let counted = self.counts_exactly() && index.serving + index.arriving > 0;
        if !counted && u64::from(waiting) > self.fleet.arriving_slots() {
            let awake = index.serving;
            return Some(match self.failures {
                0 => Reason::RequestsWaiting {
                    waiting,
                    awake,
                    max_instances: self.config.max_instances,
                },
                failures => Reason::Retry {
                    attempt: failures.saturating_add(1),
                    waiting,
                },
            });
        }
        self.above_soft(index.serving + index.arriving)
            .filter(|_| !counted)
            .or_else(|| self.below_least())
    }

    /// Whether what is in flight would call for another one as soon as one that is idle slept.
    pub(super) fn is_wanted_idle(&self) -> bool {
        let awake = self.fleet.index().serving + self.fleet.index().arriving;
        !self.counts_exactly() && self.above_soft(awake.saturating_sub(1)).is_some()
    }

    /// Why there should be one more than so many awake, if every one has as many requests as it is meant to have.
    fn above_soft(&self, awake: u32) -> Option<Reason> {
        let soft_concurrency = self.config.scale.soft_concurrency;
        if soft_concurrency == u32::MAX || awake == 0 {
            return None;
        }
        let requests = self.requests_to_serve();
        let meant = u64::from(awake) * u64::from(soft_concurrency);
        (requests > meant).then_some(Reason::AboveSoft {
            requests,
            awake,
            soft_concurrency,
        })
    }

    /// Requests that wait, or are in flight where more may come.
    fn requests_to_serve(&self) -> u64 {
        let all = u64::try_from(self.requests.len()).unwrap_or(u64::MAX);
        let drains = |instance: &&Instance| instance.draining;
        let draining: u64 = match self.fleet.index().draining {
            0 => 0,
            _ => self
                .fleet
                .iter()
                .filter(drains)
                .map(|instance| u64::from(instance.in_flight))
                .sum(),
        };
        all.saturating_sub(draining)
    }

    /// From what a new instance is started on this node: a template has to be there.
    fn source(&self, node: NodeId) -> StartKind {
        let runs = |instance: &&Instance| {
            matches!(instance.state, State::Running { .. }) && !instance.draining && instance.node == node
        };
        match self.config.start_from {
            StartSource::Image => StartKind::Boot,
            StartSource::Snapshot => StartKind::Restore,
            StartSource::Instance => match self.fleet.iter().find(runs) {
                Some(template) => StartKind::Clone { of: template.id },
                None => StartKind::Boot,
            },
        }
    }

    /// Starts an instance if no limit is in the way and nobody waits for one.
    pub(super) fn start_any(&mut self, cx: &mut Cx<'_>, reason: Reason) -> Option<InstanceId> {
        let ask = self.ask(&cx.shared.gate)?;
        let node = cx.shared.gate.admit(&ask, cx.shared.now).ok()?;
        self.start_on(cx, &ask, node, reason)
    }

    /// Wakes a sleeping instance, the called ones first, or makes a new one if there may be one more.
    pub(super) fn start_on(
        &mut self,
        cx: &mut Cx<'_>,
        ask: &Ask,
        node: NodeId,
        reason: Reason,
    ) -> Option<InstanceId> {
        match self.fleet.first_called().or_else(|| self.fleet.first_parked()) {
            Some(parked) => {
                self.observe_wake(cx, parked);
                self.start(cx, parked, StartKind::Restore, ask, reason);
                Some(parked)
            }
            None => {
                let kind = self.way_to_start(self.source(node), cx.now());
                self.start_new(cx, kind, (ask, node), reason)
            }
        }
    }

    /// Boots an instance in the place of one that could not be restored.
    pub(super) fn boot_another(&mut self, cx: &mut Cx<'_>, reason: Reason) {
        let Some(ask) = self.ask_new(&cx.shared.gate) else {
            return;
        };
        if let Ok(node) = cx.shared.gate.admit(&ask, cx.shared.now) {
            self.start_new(cx, StartKind::Boot, (&ask, node), reason);
        }
    }

    /// Starts a new instance if there may be one more.
    fn start_new(
        &mut self,
        cx: &mut Cx<'_>,
        kind: StartKind,
        (ask, node): (&Ask, NodeId),
        reason: Reason,
    ) -> Option<InstanceId> {
        if self.fleet.kept() >= self.config.max_instances {
            return None;
        }
        let id = cx.shared.next_instance();
        let state = State::Starting { kind, from: None };
        self.fleet.insert(Instance::new(id, node, state));
        self.near = Some(node);
        self.start(cx, id, kind, ask, reason);
        Some(id)
    }

    fn start(&mut self, cx: &mut Cx<'_>, id: InstanceId, kind: StartKind, ask: &Ask, reason: Reason) {
        let key = self.key_of(id);
        let deadline = cx.now() + self.config.start.timeout;
        let Some((epoch, node, from)) = self.fleet.update(id, |instance| {
            let from = match instance.state {
                State::Parked { level, .. } => Some(level),
                _ => None,
            };
            instance.state = State::Starting { kind, from };
            instance.descent = None;
            instance.for_min = ask.purpose == Purpose::Min;
            instance.epoch = instance.epoch.next();
            cx.shared.timers.set(key, &mut instance.timer, Some(deadline));
            (instance.epoch, instance.node, from)
        }) else {
            return;
        };
        self.tries(id, kind, from);
        cx.shared.gate.started(ask, node, cx.shared.now);
        self.recharge(cx, id);
        let command = Command::Start {
            instance: id,
            epoch,
            kind,
            node,
        };
        self.command(cx, id, command, reason);
    }

    /// Gives a lifecycle command and remembers that it was given.
    pub(super) fn command(&mut self, cx: &mut Cx<'_>, id: InstanceId, command: Command, reason: Reason) {
        let commanded_by = self.emit(cx, command, reason);
        let now = cx.now();
        self.fleet.update(id, |instance| {
            instance.commanded_by = commanded_by;
            instance.commanded_at = now;
        });
    }
}
