//! What was learned can be saved and restored at any time, and nothing changes.

use std::path::Path;
use std::time::Duration;

use scheduler::sim::{Arrivals, LiveConfig, Recording, ServiceTrace, run_live};
use scheduler::{
    Costs, Dial, Idle, LadderConfig, LearnedSki, Observation, Plan, Policy, RungCost, ServiceConfig,
    ServiceId, ValidConfig,
};

/// Saves and restores itself before every so-and-so-many-th plan.
struct Forgetful {
    policy: LearnedSki,
    every: u32,
    plans: u32,
}

impl Policy for Forgetful {
    fn plan(&mut self, config: &ServiceConfig, idle: &Idle) -> Plan {
        self.plans += 1;
        if self.plans.is_multiple_of(self.every) {
            let mut saved = Vec::new();
            self.policy.save(&mut saved);
            self.policy = LearnedSki::new();
            self.policy.restore(&saved).expect("it was saved just now");
        }
        self.policy.plan(config, idle)
    }

    fn observe(&mut self, config: &ServiceConfig, seen: &Observation) {
        self.policy.observe(config, seen);
    }

    fn forget(&mut self, service: ServiceId) {
        self.policy.forget(service);
    }
}

fn config(_: &ServiceTrace) -> ValidConfig {
    let config = ServiceConfig {
        max_instances: 1_000,
        concurrency: 1,
        ladder: LadderConfig {
            dial: Dial::Economy,
            ram: Some(RungCost::new(0, Duration::from_millis(5))),
            costs: Costs::Pinned,
            ..LadderConfig::default()
        },
        ..ServiceConfig::default()
    };
    config.validate().expect("it is valid")
}

/// Everything that is decided about the first requests of a trace that comes with the crate.
fn decided(policy: impl Policy) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
    let recordings = Recording::read_dir(&dir, 25_000, &mut |_| {}).expect("they come with the crate");
    let recorded = recordings.iter().find(|recording| !recording.counts_only());
    let mut trace = recorded.expect("one lists requests").trace(Arrivals::Clump, 7);
    for service in &mut trace.services {
        service.requests.truncate(2_000);
    }
    let mut told = String::new();
    run_live(
        &trace,
        &LiveConfig::default(),
        policy,
        config,
        &mut |_, _, actions| {
            told.extend(actions.iter().map(|action| format!("{action:?}\n")));
        },
    );
    told
}

#[test]
fn a_run_that_is_saved_and_restored_again_and_again_decides_the_same() {
    let whole = decided(LearnedSki::new());
    assert!(whole.lines().count() > 4_000);
    assert_eq!(whole, decided(LearnedSki::new()), "and it is the same each time");
    for every in [7, 1_000] {
        let split = decided(Forgetful {
            policy: LearnedSki::new(),
            every,
            plans: 0,
        });
        assert!(whole == split, "saved before every {every}th plan");
    }
}
