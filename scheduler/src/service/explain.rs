use crate::explain::{Explanation, InstanceView};
use crate::instance::Instance;
use crate::ladder::Rung;
use crate::limits::Gate;
use crate::service::Service;
use crate::time::Timestamp;

impl Service {
    pub(crate) fn explain(&self, gate: &Gate, at: Timestamp) -> Explanation {
        let view = |instance: &Instance| InstanceView {
            instance: instance.id,
            epoch: instance.epoch,
            phase: instance.phase(),
            in_flight: instance.in_flight,
            connections: instance.connections(),
            idle_since: instance.idle_since(),
            deadline: instance.timer.map(|timer| timer.at),
            level: match instance.rung() {
                Some(Rung::Park(level)) => Some(level),
                _ => None,
            },
            next: instance
                .descent
                .as_ref()
                .and_then(|d| d.plan.next(instance.rung()))
                .map(|(rung, _)| rung),
            basis: instance.descent.as_ref().map(|d| instance.basis(&d.plan)),
            draining: instance.draining,
            park_bytes: instance.saved_bytes,
        };
        Explanation {
            service: self.id,
            at,
            instances: self.fleet.iter().map(view).collect(),
            waiting: self.requests.waiting(),
            waiting_since: self.requests.front().map(|waiter| waiter.since),
            failures: self.failures,
            backoff_until: self.backoff.map(|until| until.at).filter(|until| *until > at),
            blocked: self.blocked(gate, at),
            prewake: self.prewake().map(|prewake| prewake.at),
            wanted: self.count().map(|count| (count.desired, count.basis)),
            is_flapping: self.is_flapping(),
            generation: self.config.generation,
            counters: self.counters,
            last: self.last,
        }
    }
}
