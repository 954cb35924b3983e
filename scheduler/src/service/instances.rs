use crate::context::Cx;
use crate::ids::{Epoch, InstanceId};
use crate::instance::State;
use crate::reason::Reason;
use crate::service::Service;
use crate::timers::TimerKey;

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
        let key = TimerKey::Instance(self.id, id);
        self.fleet.update(id, |instance| {
            instance.state = State::Running { idle_since: None };
            cx.shared.timers.set(key, &mut instance.timer, None);
        });
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
        let Some((state, Some(due))) = self
            .fleet
            .update(id, |instance| (instance.state, instance.timer.take()))
        else {
            return;
        };
        match state {
            State::Starting { kind } => {
                self.stop(
                    cx,
                    id,
                    Reason::StartTimedOut {
                        after: self.config.start.timeout,
                    },
                );
                self.start_failed(cx, id, kind);
            }
            State::Running {
                idle_since: Some(since),
            } => self.park(cx, id, since, due),
            State::Running { idle_since: None } | State::Parking | State::Parked | State::Stopping => {}
        }
    }
}
