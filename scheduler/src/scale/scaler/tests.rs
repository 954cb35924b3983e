use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::scale::{KpaConfig, Metric, ScaleConfig, Staffing, StepPolicy, TargetTracking};

const SECOND: Duration = Duration::from_secs(1);

fn ms(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn steps(metric: &str) -> ScaleConfig {
    let steps = StepPolicy::parse(metric, "change", ["0:1/-1", "1:/1"]).expect("of the right form");
    ScaleConfig {
        mode: ScaleMode::Steps(steps),
        ..ScaleConfig::default()
    }
}

fn awake(serving: u32) -> Awake {
    Awake {
        serving,
        arriving: 0,
        slots: 1,
        regret: Duration::from_secs(10),
    }
}

/// A scaler that woke at 0 ms, with instance 1.
fn scaler(config: &ScaleConfig) -> Scaler {
    let mut scaler = Scaler::new(&config.mode, ms(0)).expect("it has a mode");
    scaler.woke(ms(0), 0, 0);
    scaler.instance_ready(ms(0), InstanceId(1));
    scaler
}

fn desired_at(scaler: &mut Scaler, config: &ScaleConfig, at: u64, serving: u32) -> u32 {
    scaler.tick(config, (ms(at), ms(0)), awake(serving), (0, 100));
    scaler.count().desired
}

#[test]
fn a_mode_without_a_count_has_no_scaler() {
    assert!(Scaler::new(&ScaleMode::Requests, ms(0)).is_none());
}

#[test]
fn requests_that_wait_are_shared_out_among_the_counted_instances() {
    let config = steps("in-flight");
    let mut scaler = scaler(&config);
    scaler.loaded(ms(0), 3, 2);
    scaler.instance_loaded(ms(0), InstanceId(1), 1);
    assert_eq!(desired_at(&mut scaler, &config, 1_000, 1), 2);
    let CountBasis::Steps { value, counted, .. } = scaler.count().basis else {
        panic!("it scales by steps");
    };
    assert_eq!((value, counted), (Milli(3_000), 1));
}

#[test]
fn a_rate_is_per_second_and_instance() {
    let config = steps("requests");
    let mut scaler = scaler(&config);
    scaler.instance_ready(ms(0), InstanceId(2));
    for _ in 0..5 {
        scaler.request_admitted(InstanceId(1));
    }
    scaler.loaded(ms(0), 1, 0);
    desired_at(&mut scaler, &config, 500, 2);
    let CountBasis::Steps { value, metric, .. } = scaler.count().basis else {
        panic!("it scales by steps");
    };
    assert_eq!(
        (metric, value),
        (Metric::RequestRate, Milli(5_000)),
        "five in half a second on two"
    );
}

#[test]
fn without_a_report_of_vcpu_use_there_is_no_decision() {
    let config = steps("cpu");
    let mut scaler = scaler(&config);
    scaler.loaded(ms(0), 1, 0);
    assert_eq!(desired_at(&mut scaler, &config, 1_000, 1), 0);
    scaler.usage(InstanceId(1), Milli(500));
    assert_eq!(desired_at(&mut scaler, &config, 2_000, 1), 2);
    scaler.loaded(ms(2_000), 0, 0);
    assert_eq!(
        desired_at(&mut scaler, &config, 3_000, 2),
        0,
        "nothing to do, and nobody says otherwise"
    );
}

#[test]
fn what_was_missed_of_the_instances_is_put_right_by_the_next_look() {
    let config = steps("in-flight");
    let mut scaler = scaler(&config);
    let seen = [(InstanceId(2), 4), (InstanceId(3), 0)];
    scaler.sync(ms(500), seen.into_iter());
    scaler.tick(&config, (ms(1_000), ms(0)), awake(2), (0, 100));
    let CountBasis::Steps { value, counted, .. } = scaler.count().basis else {
        panic!("it scales by steps");
    };
    assert_eq!((value, counted), (Milli(2_000), 2), "instance 1 is gone");
}

#[test]
fn a_gap_is_no_measurement() {
    let config = steps("in-flight");
    let mut scaler = scaler(&config);
    scaler.instance_loaded(ms(0), InstanceId(1), 9);
    assert_eq!(
        desired_at(&mut scaler, &config, 8_001, 1),
        0,
        "eight intervals and more"
    );
    assert_eq!(desired_at(&mut scaler, &config, 9_001, 1), 2);
}

#[test]
fn a_service_that_slept_begins_anew() {
    let config = ScaleConfig {
        cooldown: 60 * SECOND,
        ..steps("in-flight")
    };
    let mut scaler = scaler(&config);
    scaler.instance_loaded(ms(0), InstanceId(1), 1);
    assert_eq!(desired_at(&mut scaler, &config, 1_000, 1), 2);
    scaler.fell_asleep();
    scaler.woke(ms(5_000), 0, 0);
    scaler.instance_ready(ms(5_000), InstanceId(2));
    assert_eq!(
        desired_at(&mut scaler, &config, 6_000, 1),
        0,
        "no cooldown from before"
    );
}

#[test]
fn a_window_that_was_made_longer_is_looked_at_whole() {
    let of = |window| ScaleConfig {
        mode: ScaleMode::Staffing(Staffing {
            window,
            interval: SECOND,
            ..Staffing::default()
        }),
        ..ScaleConfig::default()
    };
    let (short, long) = (of(2 * SECOND), of(6 * SECOND));
    let mut scaler = scaler(&short);
    assert!(scaler.fits(&long.mode), "what was measured stays");
    scaler.loaded(ms(0), 6, 0);
    scaler.tick(&long, (ms(1_000), ms(0)), awake(1), (0, 100));
    scaler.loaded(ms(1_000), 0, 0);
    for second in 2..=6 {
        scaler.tick(&long, (ms(second * 1_000), ms(0)), awake(1), (0, 100));
    }
    let load = Milli::from_units(1);
    assert_eq!(
        scaler.count().basis,
        CountBasis::Staffing { load },
        "6 for one of six seconds"
    );
}

fn modes() -> Vec<ScaleMode> {
    let in_flight = TargetTracking {
        metric: Metric::InFlight,
        target: Milli(2_000),
        down_window: 3 * SECOND,
        interval: SECOND,
        ..TargetTracking::default()
    };
    let kpa = KpaConfig {
        capacity: Milli(2_000),
        tick: SECOND,
        stable_window: 10 * SECOND,
        ..KpaConfig::default()
    };
    let staffing = Staffing {
        interval: SECOND,
        ..Staffing::default()
    };
    Vec::from([
        steps("in-flight").mode,
        ScaleMode::Target(in_flight),
        ScaleMode::Kpa(kpa),
        ScaleMode::Staffing(staffing),
    ])
}

proptest! {
    #[test]
    fn a_count_keeps_its_bounds_and_its_cooldown(
        mode in prop::sample::select(modes()),
        cooldown in 0..10_u64,
        least in 0..4_u32,
        more in 0..10_u32,
        loads in prop::collection::vec((0..40_u32, 0..12_u32), 1..60),
    ) {
        let config = ScaleConfig { mode, cooldown: SECOND * u32::try_from(cooldown).unwrap(), ..ScaleConfig::default() };
        let mut scaler = scaler(&config);
        let (mut before, mut changed_at) = (None::<u32>, None::<u64>);
        for (index, (load, serving)) in loads.into_iter().enumerate() {
            let at = index as u64 * 1_000;
            scaler.loaded(ms(at), u64::from(load), load / 2);
            scaler.sync(ms(at), (0..serving).map(|id| (InstanceId(u64::from(id)), load / serving)));
            let changed = scaler.tick(&config, (ms(at + 1_000), ms(0)), awake(serving), (least, least + more));
            let desired = scaler.count().desired;
            if let Some(before) = before {
                prop_assert!(changed == (desired != before));
                let rests = changed_at.is_some_and(|changed: u64| at + 1_000 < changed + cooldown * 1_000);
                prop_assert!(desired >= before || !rests, "{} to {} at {}", before, desired, at);
            }
            if changed {
                prop_assert!((least..=least + more).contains(&desired));
                changed_at = Some(at + 1_000);
            }
            before = Some(desired);
        }
    }
}
