use core::time::Duration;

use crate::action::{ParkLevel, StartKind};
use crate::breaker::Breaker;
use crate::config::Restart;
use crate::context::Cx;
use crate::ids::{Epoch, InstanceId};
use crate::instance::State;
use crate::service::Service;
use crate::time::Timestamp;
use crate::timers::TimerKey;

/// Ways to start other than to boot, that failed lately.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Troubles {
    /// New instances from the snapshot or a template. While it is open they are booted.
    source: Breaker,
    /// Sleeping instances from what they had saved. While it is open none falls asleep: it could not be woken. Those that
    /// sleep already are woken whenever they are asked for: any of them tries.
    wakes: Breaker,
}

/// What is done about starts that fail again and again, and about instances that end.
impl Service {
    /// How a new instance is started, if it is meant to be started like this.
    pub(super) fn way_to_start(&self, meant: StartKind, now: Timestamp) -> StartKind {
        match &self.troubles {
            Some(troubles) if meant != StartKind::Boot && !troubles.source.allows(now) => StartKind::Boot,
            _ => meant,
        }
    }

    /// An instance is started.
    pub(super) fn tries(&mut self, id: InstanceId, kind: StartKind, from: Option<ParkLevel>) {
        let is_tried = kind != StartKind::Boot && from.is_none();
        if let Some(troubles) = self.troubles.as_mut().filter(|_| is_tried) {
            troubles.source.tries(id);
        }
    }

    /// It started.
    pub(super) fn start_worked(&mut self, id: InstanceId) {
        let state = self.fleet.find(id).map(|instance| instance.state);
        let (Some(troubles), Some(State::Starting { kind, from })) = (&mut self.troubles, state) else {
            return;
        };
        match (kind, from) {
            (StartKind::Boot, _) => return,
            (_, None) => troubles.source = Breaker::default(),
            (_, Some(_)) => troubles.wakes = Breaker::default(),
        }
        let is_over = troubles.source.failures() == 0 && troubles.wakes.failures() == 0;
        if is_over {
            self.troubles = None;
        }
    }

    /// It could not be started in any other way than a boot.
    pub(super) fn way_failed(&mut self, cx: &mut Cx<'_>, from: Option<ParkLevel>) {
        let (config, now) = (&self.config.start, cx.now());
        let troubles = self.troubles.get_or_insert_default();
        let breaker = match from {
            None => &mut troubles.source,
            Some(_) => &mut troubles.wakes,
        };
        let pause = config.backoff(breaker.failures().saturating_add(1));
        breaker.failed(config.attempts, lengthened(pause, cx), now);
    }

    /// The instance is gone, and was not to blame.
    pub(super) fn forget_try(&mut self, id: InstanceId) {
        if let Some(troubles) = &mut self.troubles {
            troubles.source.forget(id);
        }
    }

    /// No instance falls asleep before, because those that slept could not be woken.
    pub(super) fn sleepless_until(&self) -> Option<Timestamp> {
        self.troubles.as_ref()?.wakes.open_until()
    }

    /// Whether one start at a time is to show that the service can be started at all.
    pub(super) fn is_probing(&self) -> bool {
        self.failures >= self.config.start.attempts && self.fleet.index().arriving > 0
    }

    pub(crate) fn instance_finished(&mut self, cx: &mut Cx<'_>, id: InstanceId, epoch: Epoch) {
        let Some(state) = self.fleet.find(id).filter(|i| i.epoch == epoch).map(|i| i.state) else {
            return cx.ignore();
        };
        if !matches!(state, State::Running { .. } | State::Parking { .. }) {
            return self.gone(cx, id);
        }
        self.forget(cx, id);
        match self.config.start.restart {
            Restart::Always => {
                self.pause(cx);
            }
            Restart::OnFailure | Restart::Never => self.forgo(),
        }
        self.dispatch(cx);
    }

    /// An instance died.
    pub(super) fn died(&mut self, cx: &mut Cx<'_>) {
        if self.config.start.restart == Restart::Never {
            self.forgo();
        }
        self.failed(cx);
    }

    /// Nothing starts for a while.
    pub(super) fn pause(&mut self, cx: &mut Cx<'_>) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let pause = lengthened(self.config.start.backoff(self.failures), cx);
        let until = cx.now() + pause;
        let key = self.key(TimerKey::Backoff);
        cx.shared.timers.set(key, &mut self.backoff, Some(until));
        pause
    }

    /// Instances that are to be awake always.
    pub(super) fn min_awake(&self) -> u32 {
        self.config.min_instances.saturating_sub(self.forgone)
    }

    fn forgo(&mut self) {
        self.forgone = self.forgone.saturating_add(1).min(self.config.min_instances);
    }
}

/// A pause that differs from those which began together.
fn lengthened(pause: Duration, cx: &mut Cx<'_>) -> Duration {
    pause.saturating_add((pause / 1_000).saturating_mul(cx.shared.gate.jitter()))
}
