use crate::context::Cx;
use crate::ids::{Epoch, InstanceId};
use crate::instance::State;
use crate::limits::Pace;
use crate::reason::Reason;
use crate::service::Service;

/// Answers of instances, and their timers.
impl Service {
    pub(crate) fn instance_ready(&mut self, cx: &mut Cx<'_>, id: InstanceId, epoch: Epoch) {
        match self.fleet.find(id) {
            Some(instance) if instance.epoch == epoch && matches!(instance.state, State::Starting { .. }) => {
                self.ready(cx, id);
            }
            _ => cx.ignore(),
        }
    }

    pub(super) fn ready(&mut self, cx: &mut Cx<'_>, id: InstanceId) {
        self.observe_start(cx, id);
        self.start_worked(id);
        let now = cx.now();
        if let Some(scaler) = self.scaler() {
            scaler.instance_ready(now, id);
        }
        let expected = self.take_expected(id);
        let state = |idle_since| State::Running { idle_since };
        self.bring(cx, id, state(None), None);
        if let Some((since, until)) = expected {
            let descent = self.plan(cx, id, since);
            self.bring(cx, id, state(Some(since)), descent);
            self.hold(cx, id, until);
        }
        self.awoke(cx, id);
    }

    pub(crate) fn instance_failed(&mut self, cx: &mut Cx<'_>, id: InstanceId, epoch: Epoch) {
        match self.fleet.find(id) {
            Some(instance) if instance.epoch == epoch && matches!(instance.state, State::Starting { .. }) => {
                self.gone(cx, id);
            }
            _ => cx.ignore(),
        }
    }

    pub(crate) fn instance_exited(&mut self, cx: &mut Cx<'_>, id: InstanceId, epoch: Epoch) {
        match self.fleet.find(id) {
            Some(instance) if instance.epoch == epoch => self.gone(cx, id),
            _ => cx.ignore(),
        }
    }

    pub(crate) fn instance_timer(&mut self, cx: &mut Cx<'_>, id: InstanceId) {
        let Some((state, Some(_))) = self
            .fleet
            .update(id, |instance| (instance.state, instance.timer.take()))
        else {
            return;
        };
        match state {
            // Its answer may be on the way, behind what the owner does first now.
            State::Starting { .. } if cx.shared.gate.pace() == Pace::CatchesUp => {
                let key = self.key_of(id);
                let deadline = cx.now() + self.config.start.timeout;
                self.fleet.update(id, |instance| {
                    cx.shared.timers.set(key, &mut instance.timer, Some(deadline));
                });
            }
            State::Starting { kind, from } => {
                self.stop(
                    cx,
                    id,
                    Reason::StartTimedOut {
                        after: self.config.start.timeout,
                    },
                );
                self.start_failed(cx, id, kind, from);
            }
            State::Running { idle_since: Some(_) } | State::Parked { .. } => self.descend(cx, id),
            State::Running { idle_since: None } | State::Parking { .. } | State::Stopping => {}
        }
    }
}
