use alloc::vec::Vec;

use crate::config::ValidConfig;
use crate::context::Cx;
use crate::ids::InstanceId;
use crate::instance::State;
use crate::reason::Reason;
use crate::service::{Service, Standing};

/// A service is offered, changed, removed.
impl Service {
    pub(crate) fn configure(&mut self, cx: &mut Cx<'_>, config: ValidConfig) {
        self.standing = Standing::Offered;
        self.fleet.set_concurrency(config.concurrency);
        self.config = config;
        self.drain_surplus(cx);
    }

    pub(crate) fn remove(&mut self, cx: &mut Cx<'_>) {
        self.standing = Standing::Removed;
        self.shed_all(cx, self.config.queue.retry_after, Reason::ServiceRemoved);
        self.drain_surplus(cx);
    }

    /// Marks what there may no longer be, sleeping and young instances first, and brings every instance in line.
    pub(super) fn drain_surplus(&mut self, cx: &mut Cx<'_>) {
        let keep = match self.standing {
            Standing::Offered => usize::try_from(self.config.max_instances).unwrap_or(usize::MAX),
            Standing::Removed => 0,
        };
        let (asleep, mut ranked): (Vec<_>, Vec<_>) = self
            .fleet
            .iter()
            .filter(|instance| instance.state != State::Stopping)
            .map(|instance| (instance.id, instance.state))
            .partition(|(_, state)| *state == State::Parked);
        ranked.extend(asleep);
        for (rank, (id, _)) in ranked.iter().enumerate() {
            self.fleet
                .update(*id, |instance| instance.draining = rank >= keep);
        }
        for (id, state) in ranked {
            match state {
                State::Parked if self.is_draining(id) => self.stop(cx, id, self.drain_reason()),
                _ => self.settle(cx, id),
            }
        }
        self.dispatch(cx);
    }

    fn is_draining(&self, id: InstanceId) -> bool {
        self.fleet.find(id).is_some_and(|instance| instance.draining)
    }
}
