//! Everybody comes at the full minute: starts stay within their limit, and who waits, waits no longer than the queue
//! ahead takes.

use std::time::Duration;

use scheduler::sim::{LiveConfig, Outcome, ServiceTrace, Trace, TracedRequest, run_live};
use scheduler::{
    Dial, LadderConfig, LearnedSki, LimitsConfig, RateLimit, RungCost, ServiceConfig, Settings, ValidConfig,
};

const START_US: u64 = 5_000;
const LIMIT: RateLimit = RateLimit::new(1_000, 20);

fn every_minute(services: u64, minutes: u64) -> Trace {
    let request = |minute| TracedRequest {
        at_us: minute * 60_000_000,
        runs_us: 2_000,
    };
    let service = |name: u64| ServiceTrace {
        name: name.to_string(),
        memory_mb: 1.0,
        requests: (0..minutes).map(request).collect(),
    };
    Trace {
        name: "cron".to_string(),
        services: (0..services).map(service).collect(),
    }
}

fn config(_: &ServiceTrace) -> ValidConfig {
    let config = ServiceConfig {
        concurrency: 1,
        ladder: LadderConfig {
            dial: Dial::Economy,
            ram: Some(RungCost::new(0, Duration::from_micros(START_US))),
            ..LadderConfig::default()
        },
        ..ServiceConfig::default()
    };
    config.validate().expect("it is valid")
}

#[test]
fn ten_thousand_services_at_the_full_minute_start_no_faster_than_they_may() {
    let (services, minutes) = (10_000, 2);
    let world = LiveConfig {
        cold_start_us: START_US,
        check_every: 50_000,
        settings: Settings {
            limits: LimitsConfig {
                starts: Some(LIMIT),
                ..LimitsConfig::default()
            },
            ..Settings::default()
        },
        ..LiveConfig::default()
    };
    let trace = every_minute(services, minutes);
    let (outcome, counts) = run_live(&trace, &world, LearnedSki::new(), config, &mut |_, _, _| {});
    assert!(counts.is_sound(), "{counts}");
    assert_eq!((outcome.requests, outcome.shed), (services * minutes, 0));
    let (in_100_ms, in_1_s) = outcome.start_peaks();
    assert!(in_100_ms <= LIMIT.burst + LIMIT.per_second / 10, "{in_100_ms}");
    assert!(in_1_s <= LIMIT.burst + LIMIT.per_second, "{in_1_s}");
    // The last one has all others ahead.
    let queue_us = (services - LIMIT.burst) * 1_000_000 / LIMIT.per_second;
    let most_us = outcome.waits.max();
    assert!(most_us <= START_US + queue_us + 1_000, "{most_us}");
}

/// What comes of six such minutes; in the last two everybody is expected.
fn with_jitter(jitter_permille: u16, starts: Option<RateLimit>) -> Outcome {
    let world = LiveConfig {
        cold_start_us: START_US,
        check_every: 0,
        settings: Settings {
            limits: LimitsConfig {
                starts,
                jitter_permille,
                ..LimitsConfig::default()
            },
            ..Settings::default()
        },
        ..LiveConfig::default()
    };
    let trace = every_minute(10_000, 6);
    run_live(&trace, &world, LearnedSki::new(), config, &mut |_, _, _| {}).0
}

/// Why `jitter_permille` is 0 unless somebody asks for it.
#[test]
fn jitter_is_a_bargain_with_memory_and_the_limit_holds_without_it() {
    let [plain, jittered] = [0, 50].map(|permille| with_jitter(permille, Some(LIMIT)));
    let most = LIMIT.burst + LIMIT.per_second / 10;
    assert!(plain.start_peaks().0 <= most && jittered.start_peaks().0 <= most);
    // Those woken early are not in the line at the full minute, and idle until then.
    assert!(jittered.mean_wait_us() < 0.9 * plain.mean_wait_us());
    assert!(jittered.idle_cost > 10.0 * plain.idle_cost);
    // Where nothing makes a line, nobody waits less for it.
    let [plain, jittered] = [0, 50].map(|permille| with_jitter(permille, None));
    assert!(jittered.mean_wait_us() >= plain.mean_wait_us());
    assert!(jittered.cost(20) > 5.0 * plain.cost(20));
}
