use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::action::{Command, StartKind};
use crate::context::Cx;
use crate::ids::{ActionId, Epoch, InstanceId, RequestId};
use crate::instance::{Instance, Phase, State};
use crate::inventory::{InstanceReport, Inventory};
use crate::reason::Reason;
use crate::requests::Place;
use crate::service::Service;

/// Lost notifications and lost commands, both ways, are repaired from what is really there.
///
/// Repairs are the ordinary transitions, so that an inventory can do nothing that events could not.
impl Service {
    pub(crate) fn reconcile(&mut self, cx: &mut Cx<'_>, inventory: &Inventory) {
        let (known, unknown): (Vec<_>, Vec<_>) = inventory
            .instances
            .iter()
            .partition(|report| self.fleet.find(report.instance).is_some());
        for report in &unknown {
            // One that is listed twice is there once.
            if self.fleet.find(report.instance).is_none() {
                self.adopt(cx, report);
            }
        }
        for report in known {
            self.reconcile_instance(cx, report, inventory.as_of);
        }
        self.forget_absent(cx, inventory);
        self.reconcile_in_flight(cx, inventory);
        self.reconcile_waiting(cx, inventory);
        if unknown.is_empty() {
            self.dispatch(cx);
        } else {
            self.drain_surplus(cx);
        }
    }

    fn reconcile_instance(&mut self, cx: &mut Cx<'_>, report: &InstanceReport, as_of: ActionId) {
        let id = report.instance;
        let Some(instance) = self.fleet.find(id) else {
            return;
        };
        if !report.epoch.can_go_on() {
            return cx.ignore();
        }
        if report.epoch < instance.epoch {
            if as_of >= instance.commanded_by {
                self.repeat(cx, id);
            }
            return;
        }
        let state = instance.state;
        self.fleet.update(id, |instance| instance.epoch = report.epoch);
        if state != State::Stopping {
            self.fleet
                .update(id, |instance| instance.set_connections(&report.connections));
        }
        match (state, report.phase) {
            (State::Starting { .. }, Phase::Running) => self.ready(cx, id),
            (State::Parking { .. }, Phase::Running) => self.runs_on(cx, id, cx.now()),
            (
                State::Parking { level }
                | State::Parked {
                    deeper: Some(level), ..
                },
                Phase::Parked,
            ) => self.parked(cx, id, level),
            (State::Parked { .. }, Phase::Running) => self.ready(cx, id),
            (State::Running { .. }, Phase::Parked) => self.fell_asleep(cx, id),
            _ => self.settle(cx, id),
        }
    }

    /// The owner parked a running instance by itself. What was in flight there did not end well.
    fn fell_asleep(&mut self, cx: &mut Cx<'_>, id: InstanceId) {
        let key = self.key_of(id);
        self.lose_in_flight(&[id]);
        self.fleet.update(id, |instance| {
            instance.descent = None;
            cx.shared.timers.set(key, &mut instance.timer, None);
        });
        self.parked(cx, id, self.config.park_level);
    }

    /// Gives the last lifecycle command again, as it was.
    fn repeat(&mut self, cx: &mut Cx<'_>, id: InstanceId) {
        let Some(Instance {
            node,
            epoch,
            commanded_by,
            state,
            ..
        }) = self.fleet.find(id)
        else {
            return;
        };
        let (instance, epoch, reason) = (id, *epoch, Reason::Repeated { of: *commanded_by });
        let command = match *state {
            State::Starting { kind, .. } => Command::Start {
                instance,
                epoch,
                kind,
                node: *node,
            },
            State::Parking { level }
            | State::Parked {
                deeper: Some(level), ..
            } => Command::Park {
                instance,
                epoch,
                level,
            },
            State::Stopping => Command::Stop { instance, epoch },
            State::Running { .. } | State::Parked { .. } => return,
        };
        self.command(cx, id, command, reason);
    }

    /// Takes over an instance that another scheduler named; stops one that this scheduler knows to have ended.
    fn adopt(&mut self, cx: &mut Cx<'_>, report: &InstanceReport) {
        let id = report.instance;
        if !report.epoch.can_go_on() {
            return cx.ignore();
        }
        if cx.shared.named(id) || !cx.shared.adopt(id) {
            let epoch = report.epoch.next();
            self.emit(cx, Command::Stop { instance: id, epoch }, Reason::NotWanted);
            return;
        }
        // One that starts for the first time may itself be the first of all.
        if report.phase != Phase::Starting || report.epoch > Epoch::default().next() {
            self.had_initial();
        }
        let level = self.config.park_level;
        let state = match report.phase {
            Phase::Starting => State::Starting {
                kind: StartKind::Restore,
                from: None,
            },
            Phase::Running => State::Running { idle_since: None },
            Phase::Parking => State::Parking { level },
            Phase::Parked => State::Parked { level, deeper: None },
            Phase::Stopping => State::Stopping,
        };
        let mut instance = Instance::new(id, report.node, state);
        instance.epoch = report.epoch;
        if state != State::Stopping {
            instance.set_connections(&report.connections);
        }
        if let State::Starting { .. } = state {
            let tenant = self.config.resources.tenant;
            cx.shared.gate.count_start(tenant, report.node, cx.now());
            let deadline = cx.now() + self.config.start.timeout;
            cx.shared
                .timers
                .set(self.key_of(id), &mut instance.timer, Some(deadline));
        }
        self.fleet.insert(instance);
        self.recharge(cx, id);
        self.adopt_in_flight(cx, report);
    }

    /// What the owner no longer lists is gone; a start it never heard of is repeated.
    fn forget_absent(&mut self, cx: &mut Cx<'_>, inventory: &Inventory) {
        let listed: BTreeSet<_> = inventory.instances.iter().map(|report| report.instance).collect();
        let absent: Vec<_> = self
            .fleet
            .iter()
            .filter(|instance| !listed.contains(&instance.id) && inventory.as_of >= instance.commanded_by)
            .map(|instance| (instance.id, instance.state))
            .collect();
        let is_starting = |(_, state): &(_, State)| matches!(state, State::Starting { .. });
        let (starting, gone): (Vec<_>, Vec<_>) = absent.into_iter().partition(is_starting);
        for (id, _) in starting {
            // It may have failed, and be said to have: that is not what becomes of the next try.
            self.fleet
                .update(id, |instance| instance.epoch = instance.epoch.next());
            self.repeat(cx, id);
        }
        // All of them first: none may be given what another one had.
        let ids: Vec<_> = gone.iter().map(|(id, _)| *id).collect();
        self.lose_in_flight(&ids);
        for id in &ids {
            self.forget(cx, *id);
        }
        for (id, state) in gone {
            self.ended(cx, id, state);
        }
    }

    fn reconcile_in_flight(&mut self, cx: &mut Cx<'_>, inventory: &Inventory) {
        for report in &inventory.instances {
            self.adopt_in_flight(cx, report);
        }
        let there: BTreeSet<_> = inventory
            .instances
            .iter()
            .flat_map(|report| &report.in_flight)
            .collect();
        let waiting: BTreeSet<_> = inventory.waiting.iter().collect();
        let ended: Vec<_> = self
            .requests
            .in_flight()
            .filter(|(_, _, admitted_by)| *admitted_by <= inventory.as_of)
            .filter(|(request, ..)| !there.contains(request) && !waiting.contains(request))
            .map(|(request, ..)| request)
            .collect();
        for request in ended {
            self.request_done(cx, request);
        }
    }

    /// Requests in flight of which this scheduler knows nothing.
    fn adopt_in_flight(&mut self, cx: &mut Cx<'_>, report: &InstanceReport) {
        let id = report.instance;
        for &request in &report.in_flight {
            let runs = self
                .fleet
                .find(id)
                .is_some_and(|instance| matches!(instance.state, State::Running { .. }));
            if !runs || matches!(self.requests.place(request), Some(Place::InFlight { .. })) {
                continue;
            }
            if self.requests.place(request).is_none() {
                self.counters.queued += 1;
            }
            self.counters.admitted += 1;
            self.requests.admit(request, id, ActionId::default());
            let in_flight = self.fleet.update(id, |instance| {
                instance.in_flight += 1;
                instance.in_flight
            });
            self.observe_in_flight(cx, id, in_flight.unwrap_or(0));
        }
        self.settle(cx, id);
    }

    fn reconcile_waiting(&mut self, cx: &mut Cx<'_>, inventory: &Inventory) {
        for &request in &inventory.waiting {
            match self.requests.place(request) {
                None => self.request_queued(cx, request),
                Some(Place::Waiting { .. }) => {}
                Some(Place::InFlight {
                    instance,
                    admitted_by,
                }) if admitted_by <= inventory.as_of => {
                    self.repeat_admit(cx, request, instance, admitted_by);
                }
                Some(Place::InFlight { .. }) => {}
            }
        }
    }

    fn repeat_admit(&mut self, cx: &mut Cx<'_>, request: RequestId, instance: InstanceId, of: ActionId) {
        let Some(epoch) = self.fleet.find(instance).map(|instance| instance.epoch) else {
            return;
        };
        let admitted_by = self.emit(
            cx,
            Command::Admit {
                request,
                instance,
                epoch,
            },
            Reason::Repeated { of },
        );
        self.requests.admit(request, instance, admitted_by);
    }
}
