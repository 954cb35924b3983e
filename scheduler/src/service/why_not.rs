use crate::instance::{Instance, Phase};
use crate::limits::Gate;
use crate::scale::CountBasis;
use crate::service::{Service, Standing};
use crate::time::Timestamp;
use crate::why_not::{NoStart, NoStop, Stays, WhyNot};

/// Why nothing happens. Reads only what decisions read, in their order.
impl Service {
    pub(crate) fn why_not(&self, gate: &Gate, at: Timestamp) -> WhyNot {
        let instances = self.fleet.iter();
        WhyNot {
            service: self.id,
            at,
            start: self.no_start(gate, at),
            instances: instances
                .map(|instance| (instance.id, self.stays_because(instance, at)))
                .collect(),
            stop: NoStop {
                instances: self.fleet.kept(),
                max_instances: match self.standing {
                    Standing::Offered => self.config.max_instances,
                    Standing::Removed => 0,
                },
                draining: self.fleet.index().draining,
            },
        }
    }

    fn no_start(&self, gate: &Gate, at: Timestamp) -> NoStart {
        let (index, waiting) = (self.fleet.index(), self.requests.waiting());
        let awake = index.serving + index.arriving;
        if self.standing == Standing::Removed {
            return NoStart::Removed;
        }
        // Once it is over, a tick ends it.
        if let Some(until) = self.backoff.map(|until| until.at) {
            return NoStart::Pause {
                failures: self.failures,
                left: until.saturating_since(at),
            };
        }
        if let Some(wanted) = self.wanted_start(at) {
            if let Some(by) = self.blocked(gate, at) {
                return NoStart::Blocked { wanted, by };
            }
            return NoStart::AtMax {
                wanted,
                instances: self.fleet.kept(),
                max_instances: self.config.max_instances,
            };
        }
        if let Some(count) = self.count().filter(|_| waiting > 0 && self.counts_exactly()) {
            return NoStart::Counted {
                waiting,
                awake,
                wanted: count.desired,
                basis: count.basis,
                next: self.next_count().unwrap_or(at).saturating_since(at),
            };
        }
        if waiting > 0 {
            return NoStart::OnTheWay {
                waiting,
                arriving: index.arriving,
                room: self.fleet.arriving_slots(),
            };
        }
        let free = self.fleet.first_free().and_then(|id| self.fleet.find(id));
        NoStart::Enough {
            awake,
            least: self.least_awake(),
            in_flight: free.map(|instance| instance.in_flight),
            concurrency: self.config.concurrency,
        }
    }

    fn stays_because(&self, instance: &Instance, at: Timestamp) -> Stays {
        let phase = instance.phase();
        if matches!(phase, Phase::Starting | Phase::Parking | Phase::Stopping) {
            return Stays::Between { phase };
        }
        if phase == Phase::Running && instance.is_busy(self.config.connections) {
            return Stays::Busy {
                in_flight: instance.in_flight,
                connections: instance.connections(),
                is_draining: instance.draining,
            };
        }
        let (awake, least) = (self.fleet.index().serving, self.least_awake());
        if phase == Phase::Running && awake <= least {
            return Stays::Held {
                awake,
                least,
                basis: self.least_basis(),
            };
        }
        let next = instance.descent.as_ref().and_then(|descent| {
            let (next, _) = descent.plan.next(instance.rung())?;
            Some((descent, next, descent.deadline(instance.rung())?))
        });
        match next {
            None => Stays::Rests { phase },
            Some((descent, next, due)) => Stays::NotYet {
                idle: at.saturating_since(descent.since),
                next,
                left: due.saturating_since(at),
                basis: instance.basis(&descent.plan),
            },
        }
    }

    /// What sets how many are awake at least, if it is not the minimum.
    pub(super) fn least_basis(&self) -> Option<CountBasis> {
        let least = self.least_awake();
        if least <= self.min_awake() {
            return None;
        }
        Some(match self.count() {
            Some(count) if count.desired >= least => count.basis,
            _ => CountBasis::Initial,
        })
    }
}
