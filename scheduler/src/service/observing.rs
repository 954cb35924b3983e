use core::time::Duration;

use crate::action::ParkLevel;
use crate::context::Cx;
use crate::ids::{ActionId, InstanceId};
use crate::instance::State;
use crate::policy::{Observation, Seen};
use crate::requests::Waiter;
use crate::service::Service;

/// What the policy is told.
impl Service {
    /// Instances that are needed: for the requests there are, and for connections with bytes.
    pub(super) fn needed(&self) -> u32 {
        self.needed_with(0)
    }

    /// Instances that are needed if so many more requests come.
    pub(super) fn needed_with(&self, more: u32) -> u32 {
        let requests = u32::try_from(self.requests.len()).unwrap_or(u32::MAX);
        requests
            .saturating_add(more)
            .div_ceil(self.config.slots().meant())
            .saturating_add(self.fleet.index().connected)
    }

    /// Tells of a change of what is needed.
    pub(super) fn observe_level(&mut self, cx: &mut Cx<'_>) {
        let (before, after) = (self.level, self.needed());
        if before == after {
            return;
        }
        self.level = after;
        if before == 0 {
            self.expect(cx, None);
        }
        self.observe(cx, Seen::Level { before, after });
    }

    pub(super) fn observe_wait(&mut self, cx: &mut Cx<'_>, waiter: Waiter) {
        if waiter.since < cx.shared.resumed_at {
            return;
        }
        let waited = cx.now().saturating_since(waiter.since);
        let level = waiter.level;
        self.observe(cx, Seen::Waited { level, waited });
    }

    pub(super) fn observe_start(&mut self, cx: &mut Cx<'_>, id: InstanceId) {
        let State::Starting { kind, from } = self.fleet.find(id).map_or(State::Stopping, |i| i.state) else {
            return;
        };
        if let Some(took) = self.answered_in(cx, id) {
            self.observe(cx, Seen::Started { kind, from, took });
        }
    }

    pub(super) fn observe_park(
        &mut self,
        cx: &mut Cx<'_>,
        id: InstanceId,
        level: ParkLevel,
        written_bytes: u64,
    ) {
        if let Some(took) = self.answered_in(cx, id) {
            let seen = Seen::Parked {
                level,
                took,
                written_bytes,
            };
            self.observe(cx, seen);
        }
    }

    /// Time since the last command, if this scheduler gave it and its owner did not stand still meanwhile.
    fn answered_in(&self, cx: &Cx<'_>, id: InstanceId) -> Option<Duration> {
        let instance = self.fleet.find(id)?;
        let known =
            instance.commanded_by != ActionId::default() && instance.commanded_at >= cx.shared.resumed_at;
        known.then(|| cx.now().saturating_since(instance.commanded_at))
    }

    fn observe(&self, cx: &mut Cx<'_>, seen: Seen) {
        let seen = Observation::new(self.id, cx.now(), seen);
        cx.policy.observe(&self.config, &seen);
    }
}
