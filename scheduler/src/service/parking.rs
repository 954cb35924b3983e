use alloc::vec::Vec;
use core::time::Duration;

use crate::action::Command;
use crate::context::Cx;
use crate::ids::{Epoch, InstanceId};
use crate::instance::{Instance, State};
use crate::policy::Idle;
use crate::reason::Reason;
use crate::service::{Service, Standing};
use crate::time::Timestamp;
use crate::timers::TimerKey;

/// An owner that refuses to park again and again is asked no less often, unless the keep-awake time is longer.
const MOST_BACKOFF: Duration = Duration::from_secs(1);

/// From idle to asleep, in two phases: the owner may refuse.
impl Service {
    /// Brings a running instance in line with what keeps it busy: arms, moves or clears its deadline; stops it if it
    /// is draining.
    pub(super) fn settle(&mut self, cx: &mut Cx<'_>, id: InstanceId) {
        let Some(instance) = self.fleet.find(id) else {
            return;
        };
        let State::Running {
            idle_since: was_idle_since,
        } = instance.state
        else {
            return;
        };
        let idle_since = match instance.is_busy(self.config.connections) {
            true => None,
            false => Some(was_idle_since.unwrap_or(cx.now())),
        };
        if instance.draining && idle_since.is_some() {
            return self.stop(cx, id, self.drain_reason());
        }
        let deadline = idle_since.and_then(|since| self.park_at(cx, id, since));
        let key = TimerKey::Instance(self.id, id);
        self.fleet.update(id, |instance| {
            instance.state = State::Running { idle_since };
            if idle_since.is_none() {
                instance.refusals = 0;
            }
            cx.shared.timers.set(key, &mut instance.timer, deadline);
        });
    }

    /// When an idle instance is to be parked, if it may be.
    fn park_at(&self, cx: &mut Cx<'_>, instance: InstanceId, since: Timestamp) -> Option<Timestamp> {
        let refusals = self.fleet.find(instance).map_or(0, |found| found.refusals);
        let keep = self.keep_awake(cx, instance, since)?;
        Some(since + backed_off(keep, refusals))
    }

    fn keep_awake(&self, cx: &mut Cx<'_>, instance: InstanceId, since: Timestamp) -> Option<Duration> {
        let awake = self.fleet.index().serving;
        if awake <= self.config.min_instances {
            return None;
        }
        let idle = Idle {
            service: self.id,
            instance,
            since,
            awake,
        };
        cx.policy.keep_awake(&self.config, &idle)
    }

    /// The keep-awake time of an idle instance ended.
    pub(super) fn park(&mut self, cx: &mut Cx<'_>, id: InstanceId, idle_since: Timestamp, due: Timestamp) {
        if self.fleet.index().serving <= self.config.min_instances {
            return;
        }
        let Some(epoch) = self.fleet.update(id, |instance| {
            instance.state = State::Parking;
            instance.epoch = instance.epoch.next();
            instance.epoch
        }) else {
            return;
        };
        let idle = cx.now().saturating_since(idle_since);
        let reason = Reason::IdleFor {
            idle,
            cooldown: due.saturating_since(idle_since),
        };
        self.command(
            cx,
            id,
            Command::Park {
                instance: id,
                epoch,
                level: self.config.park_level,
            },
            reason,
        );
    }

    pub(crate) fn instance_parked(&mut self, cx: &mut Cx<'_>, id: InstanceId, epoch: Epoch) {
        match self.fleet.find(id) {
            Some(instance) if instance.epoch == epoch && instance.state == State::Parking => {
                self.parked(cx, id);
            }
            _ => cx.ignore(),
        }
    }

    pub(super) fn parked(&mut self, cx: &mut Cx<'_>, id: InstanceId) {
        self.failures = 0;
        let draining = self.fleet.update(id, |instance| {
            instance.state = State::Parked;
            instance.refusals = 0;
            instance.draining
        });
        if draining == Some(true) {
            self.stop(cx, id, self.drain_reason());
        }
        self.dispatch(cx);
        if self.fleet.index().serving == 0 {
            self.requests.release_memory();
            self.fleet.release_memory();
        }
    }

    pub(crate) fn park_refused(
        &mut self,
        cx: &mut Cx<'_>,
        id: InstanceId,
        epoch: Epoch,
        last_activity: Timestamp,
    ) {
        match self.fleet.find(id) {
            Some(instance) if instance.epoch == epoch && instance.state == State::Parking => {
                self.runs_on(cx, id, last_activity);
            }
            _ => cx.ignore(),
        }
    }

    /// The instance was not parked after all: its keep-awake time counts from its last activity. If it would be over already, from
    /// now, and twice as long with each further refusal: an owner who refuses for ever costs next to nothing.
    pub(super) fn runs_on(&mut self, cx: &mut Cx<'_>, id: InstanceId, last_activity: Timestamp) {
        let now = cx.now();
        let since = last_activity.min(now);
        let running = |since| State::Running {
            idle_since: Some(since),
        };
        self.fleet.update(id, |instance| instance.state = running(since));
        let keep = self.keep_awake(cx, id, since);
        let in_vain = keep.is_some_and(|keep| since + keep <= now);
        self.fleet.update(id, |instance| {
            if in_vain {
                instance.refusals = instance.refusals.saturating_add(1);
                instance.state = running(now);
            } else {
                instance.refusals = 0;
            }
        });
        self.awoke(cx, id);
    }

    /// One more instance runs.
    pub(super) fn awoke(&mut self, cx: &mut Cx<'_>, id: InstanceId) {
        self.dispatch(cx);
        self.settle(cx, id);
        let min_instances = self.config.min_instances;
        if min_instances > 0 && self.fleet.index().serving == min_instances + 1 {
            // The others were kept awake as the last ones there had to be; now one may park.
            let held = |instance: &&Instance| instance.idle_since().is_some() && instance.timer.is_none();
            let held: Vec<_> = self
                .fleet
                .iter()
                .filter(held)
                .map(|instance| instance.id)
                .collect();
            for id in held {
                self.settle(cx, id);
            }
        }
    }

    pub(super) fn stop(&mut self, cx: &mut Cx<'_>, id: InstanceId, reason: Reason) {
        let key = TimerKey::Instance(self.id, id);
        let Some(epoch) = self.fleet.update(id, |instance| {
            instance.state = State::Stopping;
            instance.epoch = instance.epoch.next();
            instance.close_connections();
            cx.shared.timers.set(key, &mut instance.timer, None);
            instance.epoch
        }) else {
            return;
        };
        self.command(cx, id, Command::Stop { instance: id, epoch }, reason);
    }

    pub(super) fn drain_reason(&self) -> Reason {
        match self.standing {
            Standing::Removed => Reason::ServiceRemoved,
            Standing::Offered => Reason::OverMax {
                instances: self.fleet.kept() + self.fleet.index().draining,
                max_instances: self.config.max_instances,
            },
        }
    }
}

/// How long to wait for the next try after so many refusals in a row: the first time as long as ever.
fn backed_off(keep: Duration, refusals: u32) -> Duration {
    let factor = 1u32.checked_shl(refusals.saturating_sub(1)).unwrap_or(u32::MAX);
    keep.max(keep.saturating_mul(factor).min(MOST_BACKOFF))
}
