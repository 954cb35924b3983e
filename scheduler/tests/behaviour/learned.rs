//! Random histories under the policy that learns, with every rung of the ladder.

use proptest::collection::vec;
use proptest::prelude::*;
use scheduler::{
    Dial, Event, LadderConfig, LearnedSki, ParkLevel, Phase, Policy, RungCost, Scheduler, ServiceConfig,
    Settings,
};

use crate::chaos::{Fate, History, Step, World, config, configured, fate, run, step};
use crate::desk::{Desk, SERVICE, ms};

/// The same, with the policy to decide and these rungs; all of them pay within seconds.
fn unpinned(config: ServiceConfig, rungs: u8) -> ServiceConfig {
    let rung = |bit: u8, rate, wake| (rungs & bit != 0).then_some(RungCost::new(rate, ms(wake)));
    ServiceConfig {
        cooldown: None,
        park_level: ParkLevel::Disk,
        ladder: LadderConfig {
            dial: Dial::Beta(u32::from(rungs >> 4)),
            paused: rung(1, 700, 1),
            ram: rung(2, 100, 2),
            disk: Some(RungCost::new(50, ms(3))),
            stop: rung(4, 0, 4),
            ..LadderConfig::default()
        },
        ..config
    }
}

fn histories() -> impl Strategy<Value = (ServiceConfig, Vec<History>)> {
    let steps = vec((step(), fate(), fate()), 1..150);
    (config(), steps, 0..128_u8).prop_map(|(config, steps, rungs)| {
        let unpin = |step| match step {
            Step::Configure(config) => Step::Configure(Box::new(unpinned(*config, rungs))),
            step => step,
        };
        let steps = steps
            .into_iter()
            .map(|(step, event, action)| (unpin(step), event, action));
        (unpinned(config, rungs), steps.collect())
    })
}

fn saved(world: &World<LearnedSki>) -> Vec<u8> {
    let mut bytes = Vec::new();
    world.scheduler.policy().save(&mut bytes);
    bytes
}

#[test]
fn what_was_restored_of_a_service_that_is_gone_is_forgotten_once_its_owner_says_so() {
    let calm = ServiceConfig {
        cooldown: None,
        ..crate::desk::config()
    };
    let mut desk = Desk::awake_with(calm, LearnedSki::new());
    desk.at(500).queued(2);
    let mut bytes = Vec::new();
    desk.scheduler.policy().save(&mut bytes);
    let mut policy = LearnedSki::new();
    policy.restore(&bytes).expect("it was saved");
    assert!(policy.services().eq([SERVICE]));
    let mut scheduler = Scheduler::with_policy(&Settings::default(), policy);
    let gone = Event::ServiceRemoved { service: SERVICE };
    scheduler.handle(desk.now, gone, &mut Vec::new());
    assert_eq!(scheduler.policy().services().count(), 0);
}

proptest! {
    #[test]
    fn every_request_ends_and_all_goes_down_as_deep_as_it_may((config, steps) in histories()) {
        let last = ServiceConfig { min_instances: 0, ..config.clone() };
        let mut world = run(LearnedSki::new(), config, steps);
        world.deliver(configured(last), Fate::Arrives);
        world.calm(80, ms(10));
        // Nothing rests on a shallow rung for longer than the deepest one takes to pay.
        world.calm(60, ms(500));
        let owner = &world.owner;
        prop_assert_eq!(owner.ended.len() as u64, owner.requests(), "{:?}", owner);
        prop_assert!(owner.vms.values().all(|vm| vm.phase == Phase::Parked), "{:?}", owner);
        let why = world.scheduler.why(SERVICE).expect("it is configured");
        prop_assert!(why.instances.iter().all(|view| view.next.is_none()), "{}", why);
        prop_assert_eq!(why.waiting, 0);
    }

    #[test]
    fn the_same_events_give_the_same_actions_and_teach_the_same((config, steps) in histories()) {
        let world = run(LearnedSki::new(), config, steps);
        let mut again = Scheduler::with_policy(&Settings::default(), LearnedSki::new());
        let mut actions = Vec::new();
        for (now, event) in &world.history {
            again.handle(*now, event.clone(), &mut actions);
        }
        prop_assert_eq!(format!("{:?}", world.actions), format!("{actions:?}"));
        let mut bytes = Vec::new();
        again.policy().save(&mut bytes);
        prop_assert_eq!(saved(&world), bytes);
    }

    #[test]
    fn a_removed_service_is_forgotten_with_its_last_instance((config, steps) in histories()) {
        let mut world = run(LearnedSki::new(), config, steps);
        world.deliver(Event::ServiceRemoved { service: SERVICE }, Fate::Arrives);
        world.calm(60, ms(10));
        prop_assert!(world.scheduler.why(SERVICE).is_none());
        prop_assert_eq!(world.scheduler.policy().learned_bytes(SERVICE), 0);
    }
}
