use alloc::boxed::Box;

use crate::context::Cx;
use crate::ids::InstanceId;
use crate::policy::Prewake;
use crate::reason::Reason;
use crate::service::{Service, Standing};
use crate::time::Timestamp;
use crate::timers::{Timer, TimerKey};

/// Somebody who is expected, and the instance that is to be awake for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    prewake: Prewake,
    /// When an instance was last busy.
    since: Timestamp,
    /// When the instance is to be woken; the slot of the timer.
    timer: Option<Timer>,
    /// The instance that starts for them.
    starting: Option<InstanceId>,
}

/// Instances that wake before they are asked for.
impl Service {
    /// Expects somebody, or nobody any more.
    pub(super) fn expect(&mut self, cx: &mut Cx<'_>, expected: Option<(Prewake, Timestamp)>) {
        let now = cx.now();
        let at = expected.map(|(prewake, _)| {
            let early = prewake.at.saturating_since(now) / 1_000 * cx.shared.gate.jitter();
            Timestamp::ZERO + prewake.at.saturating_since(Timestamp::ZERO).saturating_sub(early)
        });
        let mut timer = self.prewake();
        cx.shared.timers.set(self.key(TimerKey::Prewake), &mut timer, at);
        self.expected = expected.map(|(prewake, since)| {
            Box::new(Expected {
                prewake,
                since,
                timer,
                starting: None,
            })
        });
    }

    /// When an instance is to be woken for somebody.
    pub(super) fn prewake(&self) -> Option<Timer> {
        self.expected.as_ref()?.timer
    }

    /// It is time to have an instance awake: one that is idle is kept awake, or one is started.
    pub(crate) fn prewake_due(&mut self, cx: &mut Cx<'_>) {
        let Some(mut expected) = self.expected.take() else {
            return;
        };
        expected.timer = None;
        let Prewake { at, hold, basis } = expected.prewake;
        if let Some(idle) = self.fleet.first_free() {
            return self.hold(cx, idle, at + hold);
        }
        let index = self.fleet.index();
        let paused = self.backoff.is_some_and(|until| until.at > cx.now());
        let idle = index.arriving + index.parking == 0 && self.standing == Standing::Offered;
        if !idle || paused || self.is_browned_out(cx) {
            return;
        }
        let reason = Reason::Prewake { hold, rhythm: basis };
        expected.starting = self.start_any(cx, reason);
        self.expected = Some(expected);
    }

    /// If the instance was started for somebody expected, and nobody came yet: since when it is idle, and how long it
    /// is kept for them.
    pub(super) fn take_expected(&mut self, id: InstanceId) -> Option<(Timestamp, Timestamp)> {
        let nobody = self.needed() == 0;
        let expected = self.expected.take_if(|expected| expected.starting == Some(id))?;
        let Prewake { at, hold, .. } = expected.prewake;
        nobody.then_some((expected.since, at + hold))
    }
}
