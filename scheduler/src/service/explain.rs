use crate::explain::{Explanation, InstanceView};
use crate::instance::Instance;
use crate::service::Service;
use crate::time::Timestamp;

impl Service {
    pub(crate) fn explain(&self, at: Timestamp) -> Explanation {
        let view = |instance: &Instance| InstanceView {
            instance: instance.id,
            epoch: instance.epoch,
            phase: instance.phase(),
            in_flight: instance.in_flight,
            connections: instance.connections(),
            idle_since: instance.idle_since(),
            deadline: instance.timer,
            draining: instance.draining,
        };
        Explanation {
            service: self.id,
            at,
            instances: self.fleet.iter().map(view).collect(),
            waiting: self.requests.waiting(),
            waiting_since: self.requests.front().map(|waiter| waiter.since),
            failures: self.failures,
            backoff_until: self.backoff.filter(|until| *until > at),
            counters: self.counters,
            last: self.last,
        }
    }
}
