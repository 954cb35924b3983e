use alloc::vec::Vec;

use crate::config::ValidConfig;
use crate::context::Cx;
use crate::ids::InstanceId;
use crate::instance::State;
use crate::inventory::Inventory;
use crate::reason::Reason;
use crate::service::{Service, Standing};

/// A service is offered, changed, removed.
impl Service {
    pub(crate) fn configure(&mut self, cx: &mut Cx<'_>, config: ValidConfig) {
        if self.is_outdated(&config) {
            return cx.ignore();
        }
        self.take_config(cx, config);
        self.drain_surplus(cx);
    }

    /// What is there comes before what the configuration asks for.
    pub(crate) fn adopt_service(&mut self, cx: &mut Cx<'_>, config: ValidConfig, inventory: &Inventory) {
        if !self.is_outdated(&config) {
            self.take_config(cx, config);
        }
        self.reconcile(cx, inventory);
        self.drain_surplus(cx);
    }

    /// Of a service that was removed and is offered again every generation is new.
    fn is_outdated(&self, config: &ValidConfig) -> bool {
        self.standing == Standing::Offered && config.generation < self.config.generation
    }

    fn take_config(&mut self, cx: &mut Cx<'_>, config: ValidConfig) {
        self.standing = Standing::Offered;
        self.fleet.set_slots(config.slots());
        let recharge = self.config.resources != config.resources;
        if recharge {
            self.uncharge_all(cx);
        }
        self.config = config;
        self.forgone = 0;
        if recharge {
            self.recharge_all(cx);
        }
        self.configure_scale(cx);
        self.plan_again(cx);
    }

    /// Plans were made for another configuration: those of running instances are made again as they are settled.
    fn plan_again(&mut self, cx: &mut Cx<'_>) {
        self.expect(cx, None);
        let idle = self.fleet.iter().filter(|instance| instance.descent.is_some());
        let idle: Vec<_> = idle.map(|instance| (instance.id, instance.state)).collect();
        for (id, state) in idle {
            match state {
                State::Parked { level, deeper: None } => {
                    let since = self
                        .fleet
                        .find(id)
                        .and_then(|i| i.descent.as_ref())
                        .map(|d| d.since);
                    let descent = since.and_then(|since| self.plan(cx, id, since));
                    self.bring(cx, id, State::Parked { level, deeper: None }, descent);
                }
                _ => {
                    self.fleet.update(id, |instance| instance.refusals = 0);
                    self.bring(cx, id, state, None);
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, cx: &mut Cx<'_>) {
        self.standing = Standing::Removed;
        self.expect(cx, None);
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
            .partition(|(_, state)| matches!(state, State::Parked { .. }));
        ranked.extend(asleep);
        for (rank, (id, _)) in ranked.iter().enumerate() {
            self.fleet
                .update(*id, |instance| instance.draining = rank >= keep);
        }
        for (id, state) in ranked {
            match state {
                State::Parked { .. } if self.is_draining(id) => self.stop(cx, id, self.drain_reason()),
                _ => self.settle(cx, id),
            }
        }
        self.dispatch(cx);
    }

    fn is_draining(&self, id: InstanceId) -> bool {
        self.fleet.find(id).is_some_and(|instance| instance.draining)
    }
}
