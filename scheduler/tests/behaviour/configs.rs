//! Random configurations of everything that computes a count. With all of them a service that has nothing to do falls
//! asleep.

use proptest::prelude::*;
use scheduler::{
    CountRole, Flapping, KpaConfig, LimitsConfig, Metric, Milli, NodeConfig, RateLimit, ScaleConfig,
    ScaleMode, Staffing, StartSource, StepPolicy, TargetBurst, TargetTracking,
};

use crate::desk::ms;

/// What an instance has.
pub(crate) const MEMORY: u64 = 100 << 20;

/// For a service of at most `max` instances that take at most `concurrency` requests.
pub(crate) fn scale(max: u32, concurrency: u32) -> impl Strategy<Value = ScaleConfig> {
    let role = prop_oneof![Just(CountRole::AtLeast), Just(CountRole::Exactly)];
    let soft = prop_oneof![Just(u32::MAX), Just(1), Just(2)];
    let flapping = prop_oneof![Just(None), Just(Some(Flapping::default()))];
    let times = (0..15_u64, 0..15_u64);
    (mode(), role, 0..=max, soft, times, flapping).prop_map(
        move |(mode, role, initial, soft, times, flapping)| {
            let role = if mode == ScaleMode::Requests {
                CountRole::AtLeast
            } else {
                role
            };
            ScaleConfig {
                mode,
                role,
                initial_instances: initial.saturating_sub(1),
                soft_concurrency: if soft > concurrency { u32::MAX } else { soft },
                warm_up: ms(times.0),
                cooldown: ms(times.1),
                flapping,
            }
        },
    )
}

/// Limits in which a service falls asleep and its requests end all the same.
pub(crate) fn limits() -> impl Strategy<Value = LimitsConfig> {
    let starts = prop_oneof![Just(None), (50..200_u64, 1..3_u64).prop_map(Some)];
    let memory = prop_oneof![Just(None), (2 * MEMORY..5 * MEMORY).prop_map(Some)];
    (starts, memory, any::<u64>()).prop_map(|(starts, memory_bytes, seed)| LimitsConfig {
        starts: starts.map(|(per_second, burst)| RateLimit::new(per_second, burst)),
        node: NodeConfig {
            memory_bytes,
            ..NodeConfig::default()
        },
        seed,
        ..LimitsConfig::default()
    })
}

pub(crate) fn start_from() -> impl Strategy<Value = StartSource> {
    prop_oneof![
        Just(StartSource::Image),
        Just(StartSource::Snapshot),
        Just(StartSource::Instance)
    ]
}

fn mode() -> impl Strategy<Value = ScaleMode> {
    let metric = prop_oneof![Just("cpu"), Just("in-flight"), Just("requests")];
    let adjustment = prop_oneof![Just("change"), Just("percent")];
    let steps = (metric, adjustment, 1..3_i32).prop_map(|(metric, adjustment, up)| {
        let up = format!("1:/{up}");
        let steps = StepPolicy::parse(metric, adjustment, ["0:1/-100", &up]).expect("of the right form");
        ScaleMode::Steps(StepPolicy {
            interval: ms(10),
            ..steps
        })
    });
    let target = (500..3_000_u64).prop_map(|target| {
        ScaleMode::Target(TargetTracking {
            metric: Metric::InFlight,
            target: Milli(target),
            down_window: ms(30),
            interval: ms(10),
            ..TargetTracking::default()
        })
    });
    let kpa = (500..3_000_u64, prop::bool::ANY).prop_map(|(capacity, buffers)| {
        ScaleMode::Kpa(KpaConfig {
            capacity: Milli(capacity),
            tick: ms(10),
            stable_window: ms(50),
            panic_window_percent: 20,
            zero_grace: ms(20),
            target_burst: if buffers {
                TargetBurst::Unlimited
            } else {
                TargetBurst::None
            },
            ..KpaConfig::default()
        })
    });
    let staffing = Just(ScaleMode::Staffing(Staffing {
        min_regret: ms(1),
        min_load: Milli(500),
        window: ms(30),
        interval: ms(10),
        ..Staffing::default()
    }));
    prop_oneof![
        3 => Just(ScaleMode::Requests),
        1 => steps,
        1 => target,
        1 => kpa,
        1 => staffing,
    ]
}
