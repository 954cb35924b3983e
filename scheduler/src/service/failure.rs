use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::action::{ParkLevel, StartKind};
use crate::context::Cx;
use crate::ids::InstanceId;
use crate::instance::{Instance, State};
use crate::reason::Reason;
use crate::service::Service;

/// Instances that end, asked or not, and what the service does about it.
impl Service {
    /// The instance is no more.
    pub(super) fn gone(&mut self, cx: &mut Cx<'_>, id: InstanceId) {
        if let Some(instance) = self.forget(cx, id) {
            self.ended(cx, id, instance.state);
        }
    }

    /// An instance in this state is no more, and is forgotten.
    pub(super) fn ended(&mut self, cx: &mut Cx<'_>, id: InstanceId, state: State) {
        match state {
            State::Starting { kind, from } => self.start_failed(cx, id, kind, from),
            State::Running { .. } | State::Parking { .. } => self.died(cx),
            State::Parked { .. } | State::Stopping => self.dispatch(cx),
        }
    }

    /// Forgets the instance with all that it had.
    pub(super) fn forget(&mut self, cx: &mut Cx<'_>, id: InstanceId) -> Option<Instance> {
        self.cancel_park(cx, id);
        self.set_charge(cx, id, None);
        self.forget_try(id);
        self.lose_in_flight(&[id]);
        let mut instance = self.fleet.remove(id)?;
        let key = self.key_of(id);
        cx.shared.timers.set(key, &mut instance.timer, None);
        Some(instance)
    }

    /// Forgets what was in flight on instances that can no longer answer. The owner knows: the streams broke.
    pub(super) fn lose_in_flight(&mut self, ids: &[InstanceId]) {
        let busy = |id: &&InstanceId| {
            self.fleet
                .find(**id)
                .is_some_and(|instance| instance.in_flight > 0)
        };
        let busy: BTreeSet<_> = ids.iter().filter(busy).copied().collect();
        if busy.is_empty() {
            return;
        }
        let there = self.requests.in_flight().filter(|(_, on, _)| busy.contains(on));
        let lost: Vec<_> = there.map(|(request, ..)| request).collect();
        for request in lost {
            self.requests.remove(request);
            self.counters.lost += 1;
        }
        for id in busy {
            self.fleet.update(id, |instance| instance.in_flight = 0);
        }
    }

    /// A start failed or was given up. After a restore or a clone an instance is booted at once, if one is still wanted.
    pub(super) fn start_failed(
        &mut self,
        cx: &mut Cx<'_>,
        failed: InstanceId,
        kind: StartKind,
        from: Option<ParkLevel>,
    ) {
        let reason = match kind {
            StartKind::Boot => return self.failed(cx),
            StartKind::Restore => Reason::RestoreFailed { failed },
            StartKind::Clone { of } => Reason::CloneFailed { failed, of },
        };
        self.way_failed(cx, from);
        self.boot_instead(cx, reason);
    }

    fn boot_instead(&mut self, cx: &mut Cx<'_>, reason: Reason) {
        if self.wanted_start(cx.now()).is_some() {
            self.boot_another(cx, reason);
        }
        self.dispatch(cx);
    }

    /// Nothing starts for a while; and who waits is told so, once that was tried often enough.
    pub(super) fn failed(&mut self, cx: &mut Cx<'_>) {
        let backoff = self.pause(cx);
        let failures = self.failures;
        let index = self.fleet.index();
        let hope = index.serving + index.arriving + index.parking;
        if failures >= self.config.start.attempts && hope == 0 {
            self.shed_all(cx, backoff, Reason::StartFailed { failures, backoff });
        }
        self.dispatch(cx);
    }

    pub(crate) fn backoff_ended(&mut self, cx: &mut Cx<'_>) {
        self.backoff = None;
        self.dispatch(cx);
    }
}
