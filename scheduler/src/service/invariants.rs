use crate::context::Shared;
use crate::instance::{Instance, State};
use crate::invariants::Violation;
use crate::limits::{Class, Sleeper, Tally};
use crate::service::{Service, Standing};
use crate::timers::TimerKey;

impl Service {
    /// Checks every rule; returns how many timers are armed for this service.
    pub(crate) fn check(&self, shared: &Shared, tally: &mut Tally) -> Result<usize, Violation> {
        self.check_requests()?;
        self.check_count()?;
        for instance in self.fleet.iter() {
            self.check_instance(instance)?;
            self.check_charge(shared, instance, tally)?;
        }
        tally.tickets += u64::from(self.tickets());
        tally.reserved_bytes += self.lacking.as_ref().map_or(0, |lacking| lacking.total());
        self.check_timers(shared)
    }

    /// Requests, as they were counted.
    fn check_requests(&self) -> Result<(), Violation> {
        let rule = |holds, rule| Violation::unless(holds, Some(self.id), rule);
        let count = &self.counters;
        let waiting = self.requests.waiting();
        let in_flight: u64 = self
            .fleet
            .iter()
            .map(|instance| u64::from(instance.in_flight))
            .sum();

        let settled = count.admitted + count.shed + count.left;
        rule(
            count.queued == u64::from(waiting) + settled,
            "queued = waiting + admitted + shed + left",
        )?;
        rule(
            count.admitted == in_flight + count.done + count.lost,
            "admitted = in flight + done + lost",
        )?;
        rule(
            u64::try_from(self.requests.len()) == Ok(u64::from(waiting) + in_flight),
            "a request waits or is in flight",
        )?;
        rule(
            self.standing == Standing::Offered || waiting == 0,
            "nobody waits for a removed service",
        )
    }

    /// How many instances there are, for those that wait and the least.
    fn check_count(&self) -> Result<(), Violation> {
        let rule = |holds, rule| Violation::unless(holds, Some(self.id), rule);
        let (index, waiting) = (self.fleet.index(), self.requests.waiting());
        rule(self.fleet.is_consistent(), "indexes follow from the instances")?;
        rule(
            self.fleet.kept() <= self.config.max_instances,
            "at most max_instances",
        )?;
        rule(
            waiting == 0 || self.fleet.first_free().is_none(),
            "nobody waits while a slot is free",
        )?;
        let is_counted = self.counts_exactly() && index.serving > 0;
        let full = self.fleet.kept() == self.config.max_instances && self.fleet.first_parked().is_none();
        let expected = self.backoff.is_some() || self.is_probing() || self.line.is_some() || full;
        rule(
            waiting == 0 || index.arriving > 0 || expected || is_counted,
            "who waits is waited for",
        )?;
        let awake = index.serving + index.arriving;
        let removed = self.standing == Standing::Removed;
        rule(
            awake >= self.least_awake() || expected || removed,
            "so many are awake or on their way as are to be",
        )
    }

    /// Returns how many are armed.
    fn check_timers(&self, shared: &Shared) -> Result<usize, Violation> {
        let rule = |holds, rule| Violation::unless(holds, Some(self.id), rule);
        let instances = self.fleet.iter().map(|i| (self.key_of(i.id), i.timer));
        let own = [
            (self.key(TimerKey::Backoff), self.backoff),
            (self.key(TimerKey::Prewake), self.prewake()),
            (
                self.key(TimerKey::Scale),
                self.scale.as_ref().and_then(|scale| scale.tick),
            ),
            (self.key(TimerKey::Wait), self.wait),
        ];
        let mut armed = 0;
        for (key, timer) in instances
            .chain(own)
            .filter_map(|(key, timer)| Some((key, timer?)))
        {
            rule(shared.timers.is_armed(key, timer), "a remembered timer is armed")?;
            armed += 1;
        }
        Ok(armed)
    }

    fn check_charge(&self, shared: &Shared, instance: &Instance, tally: &mut Tally) -> Result<(), Violation> {
        let rule = |holds, rule| Violation::unless(holds, Some(self.id), rule);
        let charge = self.charge_of(&shared.gate, instance);
        rule(
            charge == instance.charge,
            "an instance is charged for what it does",
        )?;
        let (node, tenant) = (instance.node, self.config.resources.tenant);
        if let Some(charge) = charge {
            tally.add(tenant, node, charge);
        }
        let cached = charge.is_some_and(|charge| charge.class == Class::Cache);
        let listed = instance.worth.map(|worth| Sleeper {
            worth,
            service: self.id,
            instance: instance.id,
        });
        match listed {
            None => rule(
                !cached || !shared.gate.lists_sleepers(node),
                "what sleeps in RAM is listed where memory is limited",
            ),
            Some(sleeper) => {
                *tally.sleepers.entry(node).or_default() += 1;
                rule(
                    cached && shared.gate.is_listed(tenant, node, sleeper),
                    "what is listed sleeps in RAM",
                )
            }
        }
    }

    fn check_instance(&self, instance: &Instance) -> Result<(), Violation> {
        let rule = |holds, rule| Violation::unless(holds, Some(self.id), rule);
        let here = self
            .requests
            .in_flight()
            .filter(|(_, on, _)| *on == instance.id)
            .count();
        rule(
            u32::try_from(here) == Ok(instance.in_flight),
            "in flight is counted where it is",
        )?;
        let runs = matches!(instance.state, State::Running { .. });
        rule(
            runs || instance.in_flight == 0,
            "only a running instance has requests in flight",
        )?;
        match instance.state {
            State::Starting { .. } => rule(instance.timer.is_some(), "a start has a time limit"),
            State::Running { idle_since } => {
                let busy = instance.is_busy(self.config.connections);
                rule(busy == idle_since.is_none(), "idle is not busy")?;
                rule(
                    !busy || instance.timer.is_none(),
                    "a busy instance is not about to be parked",
                )?;
                rule(busy || !instance.draining, "a draining instance stops once idle")
            }
            State::Parked { deeper, .. } => {
                let rests = instance.descent.is_some() && deeper.is_none();
                rule(
                    instance.timer.is_some() == rests,
                    "a sleeping instance has a timer while it is to sleep deeper",
                )?;
                rule(!instance.draining, "a draining instance does not sleep")
            }
            State::Parking { .. } | State::Stopping => {
                rule(instance.timer.is_none(), "the owner's turn has no timer")
            }
        }
    }
}
