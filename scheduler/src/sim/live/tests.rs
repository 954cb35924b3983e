use core::time::Duration;
use std::boxed::Box;
use std::path::Path;
use std::vec::Vec;

use super::*;
use crate::config::{ServiceConfig, ValidConfig};
use crate::policy::Cooldown;
use crate::sim::pool::{Fixed, run_pool};
use crate::sim::study::{Contender, Study};
use crate::sim::trace::{Arrivals, Recording, ServiceTrace, Trace, TracedRequest};

fn llm() -> Trace {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
    Recording::read_dir(&dir, 25_000, &mut |_| {}).unwrap()[1].trace(Arrivals::Clump, 7)
}

fn config(keep: Duration) -> ValidConfig {
    let mut config = ServiceConfig {
        max_instances: 10_000,
        concurrency: 1,
        cooldown: Some(keep),
        ..ServiceConfig::default()
    };
    config.queue.max_waiting = 100_000;
    config.validate().unwrap()
}

/// A few services with requests at random.
fn small(services: u64, requests: u64, seed: u64) -> Trace {
    let mut random = crate::sim::Random::new(seed);
    let mut service = |name: u64| ServiceTrace {
        name: std::format!("{name}"),
        memory_mb: 1.0,
        requests: {
            let mut at_us = 0;
            let mut request = |_| {
                at_us += random.below(200_000);
                TracedRequest {
                    at_us,
                    runs_us: 1 + random.below(50_000),
                }
            };
            (0..requests).map(&mut request).collect()
        },
    };
    Trace {
        name: "small".into(),
        services: (0..services).map(&mut service).collect(),
    }
}

#[test]
fn without_faults_the_real_scheduler_does_what_the_pool_model_says() {
    let trace = llm();
    for keep_ms in [100, 1_000] {
        let pool = run_pool(&trace, 5_000, |_| {
            Box::new(Fixed {
                keep_us: keep_ms * 1_000,
            })
        });
        let service = |_: &ServiceTrace| config(Duration::from_millis(keep_ms));
        let world = LiveConfig::default();
        let (ours, counts) = run_live(&trace, &world, Cooldown, service, &mut |_, _, _| {});
        assert!(counts.is_sound() && counts.busy_parks == 0, "{counts}");
        // They differ only in what comes first of things that happen in the same microsecond.
        assert!(
            ours.starts.abs_diff(pool.starts) <= 3,
            "{} {}",
            ours.starts,
            pool.starts
        );
        assert!(
            ours.delayed.abs_diff(pool.delayed) <= 3,
            "{} {}",
            ours.delayed,
            pool.delayed
        );
        assert!(
            (ours.cost(20) / pool.cost(20) - 1.0).abs() < 1e-3,
            "{} {}",
            ours.cost(20),
            pool.cost(20)
        );
    }
}

#[test]
fn whatever_goes_wrong_every_request_ends_in_time_and_no_rule_is_broken() {
    let trace = small(5, 400, 3);
    for seed in 0..4 {
        let live_config = LiveConfig {
            faults: Faults::all(0.03),
            cold_start_spread: 0.5,
            park_us: 2_000,
            check_every: 1,
            seed,
            ..LiveConfig::default()
        };
        let service = |_: &ServiceTrace| config(Duration::from_millis(50));
        let watch = &mut |_, _: &_, _: &[_]| {};
        let (outcome, counts) = run_live(&trace, &live_config, Cooldown, service, watch);
        assert!(counts.is_sound(), "seed {seed}: {counts}");
        let served = outcome.waits.len();
        assert_eq!(outcome.requests, served + outcome.shed, "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_actions() {
    let trace = small(3, 200, 5);
    let run = |seed| {
        let live_config = LiveConfig {
            faults: Faults::all(0.02),
            seed,
            ..LiveConfig::default()
        };
        let mut told = Vec::new();
        let service = |_: &ServiceTrace| config(Duration::from_millis(50));
        run_live(
            &trace,
            &live_config,
            Cooldown,
            service,
            &mut |now, event, actions| {
                told.push(std::format!("{now} {event:?} {actions:?}"));
            },
        );
        told
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn too_few_cores_make_everything_slower() {
    let trace = small(5, 200, 9);
    let run = |cores| {
        let live_config = LiveConfig {
            cores,
            ..LiveConfig::default()
        };
        let service = |_: &ServiceTrace| config(Duration::from_millis(50));
        run_live(&trace, &live_config, Cooldown, service, &mut |_, _, _| {}).0
    };
    let (many, few) = (run(None), run(Some(1)));
    assert_eq!(run(Some(1_000)).wait_cost.to_bits(), many.wait_cost.to_bits());
    assert!(
        few.wait_cost > many.wait_cost * 1.2,
        "{} {}",
        few.wait_cost,
        many.wait_cost
    );
}

#[test]
fn with_the_learned_policy_too_the_real_scheduler_does_what_the_pool_model_says() {
    let trace = llm();
    let study = |live| Study {
        contenders: Vec::from([Contender::Learned]),
        cold_starts_us: Vec::from([5_000, 500_000]),
        live,
        ..Study::default()
    };
    let pool = study(None).run(&trace, &|_, _| {}).unwrap();
    let live = study(Some(LiveConfig::default()))
        .run(&trace, &|_, _| {})
        .unwrap();
    for (pool, live) in pool.iter().zip(&live) {
        let beta = pool.own_beta.unwrap();
        let costs = [pool, live].map(|row| row.relative_cost_at(beta).unwrap());
        assert!(
            (costs[0] / costs[1] - 1.0).abs() < 2e-3,
            "{}: {costs:?}",
            pool.policy
        );
        let learned = [pool, live].map(|row| row.outcome.mean_learned_bytes());
        assert!(
            learned[0] > 0.0 && (learned[0] / learned[1] - 1.0).abs() < 0.1,
            "{learned:?}"
        );
    }
}

#[test]
fn a_keep_time_shorter_than_a_start_is_kept_as_it_is() {
    let trace = llm();
    let study = |live| Study {
        contenders: Vec::from([Contender::Fixed(Duration::from_millis(100))]),
        cold_starts_us: Vec::from([500_000]),
        live,
        ..Study::default()
    };
    let cost = |live| {
        study(live).run(&trace, &|_, _| {}).unwrap()[0]
            .relative_cost_at(20)
            .unwrap()
    };
    let costs = [cost(None), cost(Some(LiveConfig::default()))];
    assert!((costs[0] / costs[1] - 1.0).abs() < 2e-3, "{costs:?}");
}
