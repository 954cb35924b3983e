//! A service with one instance and one caller at a time, and what its policy's plans cost it.

use std::time::Duration;

use scheduler::{
    Basis, Dial, Idle, InstanceId, LadderConfig, Observation, ParkLevel, Plan, Policy, Rung, RungCost, Seen,
    ServiceConfig, ServiceId, StartKind, Timestamp,
};

pub(crate) const SERVICE: ServiceId = ServiceId(7);

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// One rung that costs nothing and wakes in `wake`.
pub(crate) fn one_rung(wake: Duration, beta: u32) -> ServiceConfig {
    ladder(LadderConfig {
        dial: Dial::Beta(beta),
        ram: Some(RungCost::new(0, wake)),
        ..LadderConfig::default()
    })
}

/// Paused, in RAM, on disk, stopped.
pub(crate) fn four_rungs(beta: u32) -> ServiceConfig {
    ladder(LadderConfig {
        dial: Dial::Beta(beta),
        paused: Some(RungCost::PAUSED),
        ram: Some(RungCost::RAM),
        disk: Some(RungCost::DISK),
        stop: Some(RungCost::STOP),
        ..LadderConfig::default()
    })
}

fn ladder(ladder: LadderConfig) -> ServiceConfig {
    let config = ServiceConfig {
        ladder,
        ..ServiceConfig::default()
    };
    (*config.validate().expect("test configurations are valid")).clone()
}

/// What a call cost, in microseconds of a running idle instance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bill {
    pub(crate) cost: u128,
    /// What it would have cost to know when the call comes, but for waking ahead.
    pub(crate) offline: u128,
    pub(crate) delayed: bool,
    pub(crate) woken_in_vain: u32,
}

pub(crate) struct Caller<P> {
    pub(crate) policy: P,
    pub(crate) config: ServiceConfig,
    pub(crate) now: Timestamp,
    pub(crate) plan: Plan,
    idle_since: Option<Timestamp>,
}

impl<P: Policy> Caller<P> {
    pub(crate) fn new(policy: P, config: ServiceConfig) -> Self {
        Self {
            policy,
            config,
            now: Timestamp::from_millis(1),
            plan: Plan::stay(Basis::Cooldown),
            idle_since: None,
        }
    }

    fn see(&mut self, seen: Seen) {
        let seen = Observation::new(SERVICE, self.now, seen);
        self.policy.observe(&self.config, &seen);
    }

    fn ask(&mut self, since: Timestamp, now: Timestamp) -> Plan {
        let idle = Idle::new(SERVICE, InstanceId(1), since, now, 1, 1);
        self.policy.plan(&self.config, &idle)
    }

    /// A call so long after the last one ended, and its end.
    pub(crate) fn call(&mut self, gap: Duration, busy: Duration) -> Bill {
        let bill = self
            .idle_since
            .map_or(Bill::default(), |since| self.wait(since, since + gap));
        self.now = self.now + gap;
        self.see(Seen::Level { before: 0, after: 1 });
        if bill.delayed {
            let took = self.config.ladder.ram.map_or(RungCost::RAM.wake, |ram| ram.wake);
            self.see(Seen::Started {
                kind: StartKind::Restore,
                from: Some(ParkLevel::Ram),
                took,
            });
            self.see(Seen::Waited {
                level: 1,
                waited: took,
            });
        }
        self.now = self.now + busy;
        self.see(Seen::Level { before: 1, after: 0 });
        self.idle_since = Some(self.now);
        self.plan = self.ask(self.now, self.now);
        bill
    }

    /// What the time until the next call costs.
    fn wait(&mut self, since: Timestamp, until: Timestamp) -> Bill {
        let gap = until.saturating_since(since);
        let mut bill = Bill {
            offline: self.offline(gap),
            ..Bill::default()
        };
        let (cost, rung) = self.descend(&self.plan, gap);
        bill.cost = cost;
        let mut expected = self.plan.prewake();
        while let Some(prewake) = expected.filter(|prewake| prewake.at < until) {
            let held_until = prewake.at + prewake.hold;
            bill.cost += held_until.min(until).saturating_since(prewake.at).as_micros();
            let ready = prewake.at + self.cost(Rung::Park(ParkLevel::Ram)).wake;
            if until <= held_until {
                bill.delayed = until < ready;
                let wait = ready.saturating_since(until).as_micros();
                bill.cost += wait * u128::from(self.config.ladder.dial.beta());
                return bill;
            }
            bill.woken_in_vain += 1;
            expected = self.ask(since, ready).prewake();
        }
        if let Some(rung) = rung {
            bill.delayed = true;
            bill.cost += self.miss(rung);
        }
        bill
    }

    fn cost(&self, rung: Rung) -> RungCost {
        let cost = self.config.ladder.cost(rung, self.config.park_level);
        cost.expect("plans only go where the ladder has rungs")
    }

    fn miss(&self, rung: Rung) -> u128 {
        self.cost(rung).wake.as_micros() * u128::from(1 + self.config.ladder.dial.beta())
    }

    /// The rent of a gap, and where it ends.
    pub(crate) fn descend(&self, plan: &Plan, gap: Duration) -> (u128, Option<Rung>) {
        let (mut rung, mut at, mut cost) = (None, Duration::ZERO, 0);
        while let Some((next, after)) = plan.next(rung).filter(|(_, after)| *after < gap) {
            cost += self.rent(rung, after.saturating_sub(at));
            (rung, at) = (Some(next), after.max(at));
        }
        (cost + self.rent(rung, gap - at), rung)
    }

    fn rent(&self, rung: Option<Rung>, span: Duration) -> u128 {
        let rate = rung.map_or(1_000, |rung| self.cost(rung).rate_permille);
        span.as_micros() * u128::from(rate) / 1_000
    }

    fn offline(&self, gap: Duration) -> u128 {
        let rungs = Rung::ALL.into_iter();
        let there = rungs.filter(|rung| self.config.ladder.cost(*rung, self.config.park_level).is_some());
        let sleeps = there.map(|rung| self.rent(Some(rung), gap) + self.miss(rung));
        sleeps.min().unwrap_or(u128::MAX).min(self.rent(None, gap))
    }
}
