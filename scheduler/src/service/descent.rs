use alloc::boxed::Box;
use core::time::Duration;

use crate::action::{Command, ParkLevel};
use crate::context::Cx;
use crate::ids::InstanceId;
use crate::instance::{Descent, State};
use crate::ladder::Rung;
use crate::policy::Idle;
use crate::reason::Reason;
use crate::service::Service;
use crate::time::Timestamp;

/// An instance that is kept awake although its time is over is looked at again after that, whatever its plan says.
const LEAST_LOOK: Duration = Duration::from_millis(10);

/// Down the ladder, rung by rung, as the policy planned it.
impl Service {
    /// Asks the policy how an idle instance falls asleep, if it may.
    pub(super) fn plan(
        &mut self,
        cx: &mut Cx<'_>,
        instance: InstanceId,
        since: Timestamp,
    ) -> Option<Box<Descent>> {
        let awake = self.fleet.index().serving;
        let runs = self.fleet.find(instance).is_some_and(|i| !i.is_parked());
        if runs && awake <= self.least_awake() {
            return None;
        }
        let needed = self.needed();
        let idle = Idle {
            service: self.id,
            instance,
            since,
            now: cx.now(),
            awake,
            level: needed.saturating_add(1),
        };
        let mut plan = cx.policy.plan(&self.config, &idle);
        if runs {
            plan = self.adjust_plan(cx, plan);
        }
        if self.config.ladder.stop.is_none() {
            plan.without(Rung::Stop);
        }
        plan.lengthen(cx.shared.gate.jitter());
        let mut descent = Descent::new(since, plan);
        descent.hurry(self.hurry(cx, instance));
        if let Some(until) = self.sleepless_until().filter(|_| runs) {
            descent.plan.not_before(until.saturating_since(since));
        }
        if needed == 0 {
            self.expect(cx, plan.prewake().map(|prewake| (prewake, since)));
        }
        Some(Box::new(descent))
    }

    /// Puts an instance into a state, with its way from there.
    pub(super) fn bring(
        &mut self,
        cx: &mut Cx<'_>,
        id: InstanceId,
        state: State,
        descent: Option<Box<Descent>>,
    ) {
        let key = self.key_of(id);
        self.cancel_park(cx, id);
        self.fleet.update(id, |instance| {
            instance.state = state;
            let deadline = descent
                .as_ref()
                .and_then(|descent| descent.deadline(instance.rung()));
            instance.descent = descent.filter(|_| deadline.is_some() || instance.rung().is_none());
            cx.shared.timers.set(key, &mut instance.timer, deadline);
        });
        self.recharge(cx, id);
    }

    /// The next step of an idle or sleeping instance is due.
    pub(super) fn descend(&mut self, cx: &mut Cx<'_>, id: InstanceId) {
        let Some((from, Some((basis, descent)), connections)) = self.fleet.update(id, |instance| {
            let descent = instance.descent.take();
            let descent = descent.map(|descent| (instance.basis(&descent.plan), descent));
            (instance.rung(), descent, instance.connections())
        }) else {
            return;
        };
        if from.is_none() && self.fleet.index().serving <= self.least_awake() {
            return;
        }
        let idle = cx.now().saturating_since(descent.since);
        let Some(rung) = descent.plan.due(from, idle) else {
            return;
        };
        if from.is_none() && self.is_wanted_idle() {
            return self.look_again(cx, id, descent);
        }
        let reason = match self.count() {
            Some(count) if from.is_none() && self.counts_exactly() => Reason::AboveCount {
                awake: self.fleet.index().serving,
                wanted: self.least_awake(),
                basis: count.basis,
            },
            _ => Reason::IdleFor {
                idle,
                cooldown: descent.plan.after(rung).unwrap_or_default(),
                basis,
            },
        };
        match rung {
            Rung::Park(level) => {
                self.fleet.update(id, |instance| instance.descent = Some(descent));
                let level = self.sleeps_at(cx, id, level);
                if self.may_park(cx, id, level) {
                    self.park(cx, id, level, reason);
                }
            }
            // Those connections would break.
            Rung::Stop if connections > 0 => {}
            Rung::Stop => self.stop(cx, id, reason),
        }
    }

    /// An instance stays awake for as long again.
    fn look_again(&mut self, cx: &mut Cx<'_>, id: InstanceId, mut descent: Box<Descent>) {
        let Some(state) = self.fleet.find(id).map(|instance| instance.state) else {
            return;
        };
        descent.since = cx.now();
        descent.plan.not_before(LEAST_LOOK);
        self.bring(cx, id, state, Some(descent));
    }

    pub(super) fn park(&mut self, cx: &mut Cx<'_>, id: InstanceId, level: ParkLevel, reason: Reason) {
        let key = self.key_of(id);
        let Some(epoch) = self.fleet.update(id, |instance| {
            instance.booked_bytes = None;
            cx.shared.timers.set(key, &mut instance.timer, None);
            instance.state = match instance.state {
                State::Parked { level: at, .. } => State::Parked {
                    level: at,
                    deeper: Some(level),
                },
                _ => State::Parking { level },
            };
            instance.epoch = instance.epoch.next();
            instance.epoch
        }) else {
            return;
        };
        self.recharge(cx, id);
        let command = Command::Park {
            instance: id,
            epoch,
            level,
        };
        self.command(cx, id, command, reason);
    }

    /// The instance sleeps at `level`, and may sleep deeper later.
    pub(super) fn rest(&mut self, cx: &mut Cx<'_>, id: InstanceId, level: ParkLevel) {
        let descent = self
            .fleet
            .update(id, |instance| instance.descent.take())
            .flatten();
        self.bring(cx, id, State::Parked { level, deeper: None }, descent);
    }

    /// The instance sleeps at `level`, and stays there.
    pub(super) fn stays(&mut self, cx: &mut Cx<'_>, id: InstanceId, level: ParkLevel) {
        self.bring(cx, id, State::Parked { level, deeper: None }, None);
    }

    /// Keeps an idle instance awake until then.
    pub(super) fn hold(&mut self, cx: &mut Cx<'_>, id: InstanceId, until: Timestamp) {
        let key = self.key_of(id);
        self.fleet.update(id, |instance| {
            let Some(descent) = &mut instance.descent else {
                return;
            };
            descent.plan.not_before(until.saturating_since(descent.since));
            let deadline = descent.deadline(None);
            cx.shared.timers.set(key, &mut instance.timer, deadline);
        });
    }
}
