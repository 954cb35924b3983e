use core::time::Duration;

use super::controller::{Controller, Load, Scale};
use crate::config::ValidConfig;
use crate::ids::{InstanceId, ServiceId};
use crate::policy::{Idle, Observation, Policy, Seen};
use crate::time::{Timestamp, micros};

/// A [`Policy`] of this crate in the pool model: the same object that decides in a scheduler.
#[derive(Debug)]
pub struct PolicyController<P> {
    policy: P,
    config: ValidConfig,
    /// When to start ahead, and until when that is kept.
    ahead: Option<(u64, u64)>,
    /// When an instance was last busy.
    busy_us: u64,
}

const SERVICE: ServiceId = ServiceId(1);

impl<P: Policy> PolicyController<P> {
    /// A service of this configuration under a policy that has learned nothing yet.
    pub fn new(policy: P, config: ValidConfig) -> Self {
        Self {
            policy,
            config,
            ahead: None,
            busy_us: 0,
        }
    }

    /// Until when the policy keeps an instance that is idle since the service was last busy.
    fn plan(&mut self, now_us: u64, load: Load) -> u64 {
        let idle = Idle {
            service: SERVICE,
            instance: InstanceId(1),
            since: at(self.busy_us),
            now: at(now_us),
            awake: level(load.awake),
            level: level(load.in_system).saturating_add(1),
        };
        let plan = self.policy.plan(&self.config, &idle);
        if load.in_system == 0 {
            self.ahead = plan.prewake().map(|prewake| {
                let at_us = micros(Duration::from_nanos(prewake.at.as_nanos())).max(now_us);
                (at_us, at_us.saturating_add(micros(prewake.hold)))
            });
        }
        let keep = plan.next(None).map_or(u64::MAX, |(_, after)| micros(after));
        self.busy_us.saturating_add(keep)
    }

    fn observe(&mut self, now_us: u64, seen: Seen) {
        let seen = Observation::new(SERVICE, at(now_us), seen);
        self.policy.observe(&self.config, &seen);
    }
}

impl<P: Policy> Controller for PolicyController<P> {
    fn learned_bytes(&self) -> usize {
        self.policy.learned_bytes(SERVICE)
    }

    fn arrived(&mut self, now_us: u64, load: Load) {
        self.ahead = None;
        let before = level(load.in_system);
        let after = before.saturating_add(1);
        self.observe(now_us, Seen::Level { before, after });
    }

    fn left(&mut self, now_us: u64, load: Load) {
        let after = level(load.in_system);
        let before = after.saturating_add(1);
        self.observe(now_us, Seen::Level { before, after });
    }

    fn waited(&mut self, now_us: u64, waited_at: u64, wait_us: u64) {
        let waited = Duration::from_micros(wait_us);
        let level = level(waited_at);
        self.observe(now_us, Seen::Waited { level, waited });
    }

    fn keep_us(&mut self, now_us: u64, load: Load) -> u64 {
        self.busy_us = now_us;
        self.plan(now_us, load).saturating_sub(now_us)
    }

    fn started_ahead_us(&mut self, now_us: u64, load: Load, until_us: u64) -> u64 {
        self.plan(now_us, load).max(until_us)
    }

    fn next_us(&self) -> Option<u64> {
        self.ahead.map(|(at_us, _)| at_us)
    }

    fn scale(&mut self, _: u64, load: Load) -> Scale {
        match self.ahead.take() {
            Some((_, until_us)) if load.in_system == 0 => Scale::Ahead {
                instances: 1,
                until_us,
            },
            _ => Scale::Stay,
        }
    }
}

fn at(us: u64) -> Timestamp {
    Timestamp::from_nanos(us.saturating_mul(1_000))
}

fn level(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::boxed::Box;

    use super::*;
    use crate::config::ServiceConfig;
    use crate::policy::Cooldown;
    use crate::sim::pool::{Fixed, run_pool};
    use crate::sim::trace::{Arrivals, Recording};

    #[test]
    fn a_policy_with_a_cooldown_is_a_fixed_keep_alive() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
        let recordings = Recording::read_dir(&dir, 25_000, &mut |_| {}).unwrap();
        let trace = recordings[1].trace(Arrivals::Clump, 7);
        let config = ServiceConfig::default().validate().unwrap();
        let fixed = run_pool(&trace, 5_000, |_| Box::new(Fixed { keep_us: 100_000 }));
        let policy = run_pool(&trace, 5_000, |_| {
            Box::new(PolicyController::new(Cooldown, config.clone()))
        });
        assert_eq!((fixed.starts, fixed.delayed), (policy.starts, policy.delayed));
        assert_eq!(fixed.cost(20).to_bits(), policy.cost(20).to_bits());
    }
}
