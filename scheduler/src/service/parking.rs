use core::time::Duration;

use crate::action::{Command, ParkLevel};
use crate::context::Cx;
use crate::ids::{Epoch, InstanceId};
use crate::instance::{Instance, State};
use crate::reason::Reason;
use crate::service::{Service, Standing};
use crate::time::Timestamp;

/// An owner that refuses to park again and again is asked no less often, unless the keep-awake time is longer.
const MOST_BACKOFF: Duration = Duration::from_secs(1);

/// From idle to asleep, in two phases: the owner may refuse.
impl Service {
    /// Brings a running instance in line with what keeps it busy: plans its way down the ladder once it is idle; stops
    /// it if it is draining.
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
        if instance.is_busy(self.config.connections) {
            self.fleet.update(id, |instance| instance.refusals = 0);
            let state = State::Running { idle_since: None };
            return self.bring(cx, id, state, None);
        }
        if instance.draining {
            return self.stop(cx, id, self.drain_reason());
        }
        if was_idle_since.is_none() || instance.descent.is_none() {
            let since = was_idle_since.unwrap_or(cx.now());
            let descent = self.plan(cx, id, since);
            let idle_since = Some(since);
            self.bring(cx, id, State::Running { idle_since }, descent);
        }
    }

    pub(crate) fn instance_parked(
        &mut self,
        cx: &mut Cx<'_>,
        id: InstanceId,
        epoch: Epoch,
        written_bytes: u64,
    ) {
        match self.fleet.find(id).filter(|instance| instance.epoch == epoch) {
            Some(&Instance {
                state:
                    State::Parking { level }
                    | State::Parked {
                        deeper: Some(level), ..
                    },
                ..
            }) => {
                self.observe_park(cx, id, level, written_bytes);
                if level == ParkLevel::Ram && written_bytes > 0 {
                    self.fleet
                        .update(id, |instance| instance.saved_bytes = written_bytes);
                }
                self.parked(cx, id, level);
            }
            _ => cx.ignore(),
        }
    }

    pub(super) fn parked(&mut self, cx: &mut Cx<'_>, id: InstanceId, level: ParkLevel) {
        self.failures = 0;
        self.fleet.update(id, |instance| instance.refusals = 0);
        self.rest(cx, id, level);
        if self.fleet.find(id).is_some_and(|instance| instance.draining) {
            self.stop(cx, id, self.drain_reason());
        }
        self.dispatch(cx);
        if self.fleet.index().serving == 0 {
            self.requests.release_memory();
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
            Some(instance) if instance.epoch == epoch => match instance.state {
                State::Parking { .. } => self.runs_on(cx, id, last_activity),
                State::Parked {
                    level,
                    deeper: Some(_),
                } => self.stays(cx, id, level),
                _ => cx.ignore(),
            },
            _ => cx.ignore(),
        }
    }

    /// The instance was not parked after all: its keep-awake time counts from its last activity. If it would be over
    /// already, from now, and twice as long with each further refusal: an owner who refuses for ever costs next to nothing.
    pub(super) fn runs_on(&mut self, cx: &mut Cx<'_>, id: InstanceId, last_activity: Timestamp) {
        let now = cx.now();
        let mut since = last_activity.min(now);
        let runs = |since| State::Running {
            idle_since: Some(since),
        };
        self.bring(cx, id, runs(since), None);
        let mut descent = self.plan(cx, id, since);
        let in_vain = descent
            .as_mut()
            .filter(|descent| descent.deadline(None).is_some_and(|at| at <= now));
        let refusals = self.fleet.update(id, |instance| {
            instance.refusals = match in_vain {
                Some(_) => instance.refusals.saturating_add(1),
                None => 0,
            };
            instance.refusals
        });
        if let (Some(descent), Some(refusals)) = (in_vain, refusals) {
            since = now;
            descent.since = now;
            if let Some((_, keep)) = descent.plan.next(None) {
                descent.plan.not_before(backed_off(keep, refusals));
            }
        }
        self.bring(cx, id, runs(since), descent);
        self.awoke(cx, id);
    }

    /// One more instance runs.
    pub(super) fn awoke(&mut self, cx: &mut Cx<'_>, id: InstanceId) {
        self.dispatch(cx);
        self.settle(cx, id);
        let least = self.least_awake();
        if least > 0 && self.fleet.index().serving == least + 1 {
            // The others were kept awake as the last ones there had to be; now one may park.
            self.release_held(cx);
        }
    }

    pub(super) fn stop(&mut self, cx: &mut Cx<'_>, id: InstanceId, reason: Reason) {
        let key = self.key_of(id);
        self.cancel_park(cx, id);
        let Some(epoch) = self.fleet.update(id, |instance| {
            instance.state = State::Stopping;
            instance.epoch = instance.epoch.next();
            instance.close_connections();
            instance.descent = None;
            cx.shared.timers.set(key, &mut instance.timer, None);
            instance.epoch
        }) else {
            return;
        };
        self.recharge(cx, id);
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
