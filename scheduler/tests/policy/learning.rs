use std::time::Duration;

use scheduler::{Basis, LearnedSki, ParkLevel, Policy, Rung, ServiceConfig};

use crate::caller::{Caller, SERVICE, four_rungs, ms, one_rung};

const RAM: Rung = Rung::Park(ParkLevel::Ram);

fn taught(config: ServiceConfig, gap: Duration) -> Caller<LearnedSki> {
    let mut caller = Caller::new(LearnedSki::new(), config);
    for call in 0..200 {
        // Not so regular that somebody is expected.
        caller.call(gap + gap * (call * 37 % 100) / 100, ms(1));
    }
    caller
}

#[test]
fn short_gaps_keep_an_instance_awake_and_long_ones_park_it_at_once() {
    let config = one_rung(ms(50), 20);
    let kept = |gap| taught(config.clone(), gap).plan.after(RAM).expect("it parks");
    assert!(kept(ms(20)) >= ms(40), "{:?}", kept(ms(20)));
    assert!(kept(ms(20)) < ms(100), "{:?}", kept(ms(20)));
    assert!(kept(Duration::from_secs(600)) < ms(10));
}

#[test]
fn each_rung_is_entered_when_it_pays() {
    let plan = taught(four_rungs(200), Duration::from_secs(30)).plan;
    let after = Rung::ALL.map(|rung| plan.after(rung));
    assert!(
        after[1] < Some(ms(300)),
        "not kept running for gaps of half a minute: {after:?}"
    );
    assert!(
        after[3] > Some(Duration::from_secs(30)),
        "nor stopped before: {after:?}"
    );
}

#[test]
fn a_plan_tells_its_numbers() {
    let plan = taught(one_rung(ms(5), 20), ms(10)).plan;
    let Basis::Learned {
        break_even,
        samples,
        shorter_permille,
        ..
    } = plan.basis()
    else {
        panic!("{plan:?}");
    };
    assert_eq!(
        (break_even.after_us, break_even.wake_us, break_even.beta),
        (105_000, 5_000, 20)
    );
    assert_eq!(samples, 199);
    assert!(shorter_permille > 900, "{shorter_permille}");
    let text = plan.basis().to_string();
    assert!(
        text.ends_with("of 199 gaps shorter; T* 105 ms, c 5 ms, β 20)"),
        "{text}"
    );
}

#[test]
fn a_pinned_cooldown_is_obeyed_and_nothing_is_learned() {
    let config = ServiceConfig {
        cooldown: Some(ms(70)),
        ..one_rung(ms(5), 20)
    };
    let caller = taught(config, Duration::from_secs(1));
    assert_eq!(caller.plan.after(RAM), Some(ms(70)));
    assert_eq!(caller.policy.learned_bytes(SERVICE), 0);
}

#[test]
fn measured_wakes_take_the_place_of_configured_ones_unless_those_are_pinned() {
    use scheduler::{Costs, Observation, Seen, StartKind};
    let wake_us = |costs| {
        let mut config = one_rung(ms(5), 20);
        config.ladder.costs = costs;
        let mut caller = Caller::new(LearnedSki::new(), config.clone());
        for _ in 0..20 {
            let seen = Seen::Started {
                kind: StartKind::Restore,
                from: Some(ParkLevel::Ram),
                took: ms(11),
            };
            caller
                .policy
                .observe(&config, &Observation::new(SERVICE, caller.now, seen));
        }
        caller.call(ms(100), ms(1));
        let Basis::Learned { break_even, .. } = caller.plan.basis() else {
            panic!("{:?}", caller.plan);
        };
        break_even.wake_us
    };
    assert_eq!(wake_us(Costs::Measured), 11_000);
    assert_eq!(wake_us(Costs::Pinned), 5_000);
}

#[test]
fn a_service_that_is_forgotten_holds_no_memory() {
    let mut caller = taught(one_rung(ms(5), 20), ms(10));
    assert!(caller.policy.learned_bytes(SERVICE) > 0);
    caller.policy.forget(SERVICE);
    assert_eq!(caller.policy.learned_bytes(SERVICE), 0);
}

#[test]
fn what_is_learned_about_a_service_is_small() {
    for gap in [ms(10), Duration::from_secs(60)] {
        let bytes = taught(four_rungs(200), gap).policy.learned_bytes(SERVICE);
        assert!(bytes <= 500, "{bytes} bytes");
    }
}
