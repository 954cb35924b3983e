use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use scheduler::{
    Idle, InstanceId, LearnedSki, Observation, ParkLevel, Plan, Policy, RestoreError, Seen, ServiceConfig,
    ServiceId, StartKind, Timestamp,
};

use crate::caller::{four_rungs, one_rung};

/// What happens to one of three services: needs rise or fall, somebody waited, something took time.
#[derive(Clone, Copy, Debug)]
enum Step {
    Level(u32),
    Waited(u64),
    Started(u64),
    Parked(u64),
}

fn steps() -> impl Strategy<Value = Vec<(u64, u64, Step)>> {
    let step = prop_oneof![
        12 => (0..6_u32).prop_map(Step::Level),
        2 => (0..90_000_u64).prop_map(Step::Waited),
        1 => (0..90_000_u64).prop_map(Step::Started),
        1 => (0..90_000_u64).prop_map(Step::Parked),
    ];
    let wait = (0..36_u32).prop_map(|octave| (1_u64 << octave) - 1);
    vec((0..3_u64, wait, step), 1..200)
}

struct World {
    policy: LearnedSki,
    config: ServiceConfig,
    now: Timestamp,
    levels: [u32; 3],
}

impl World {
    fn new(config: ServiceConfig) -> Self {
        Self {
            policy: LearnedSki::new(),
            config,
            now: Timestamp::from_millis(5),
            levels: [0; 3],
        }
    }

    fn step(&mut self, (service, wait, step): (u64, u64, Step)) -> Option<Plan> {
        self.now = self.now + Duration::from_micros(wait);
        let before = self.levels[usize::try_from(service).expect("three services")];
        let took = Duration::from_micros;
        let seen = match step {
            Step::Level(after) if after == before => return None,
            Step::Level(after) => Seen::Level { before, after },
            Step::Waited(us) => Seen::Waited {
                level: before.max(1),
                waited: took(us),
            },
            Step::Started(us) => Seen::Started {
                kind: StartKind::Restore,
                from: Some(ParkLevel::Ram),
                took: took(us),
            },
            Step::Parked(us) => Seen::Parked {
                level: ParkLevel::Ram,
                took: took(us),
                written_bytes: us,
            },
        };
        let service = ServiceId(service);
        self.policy
            .observe(&self.config, &Observation::new(service, self.now, seen));
        let Seen::Level { after, .. } = seen else {
            return None;
        };
        self.levels[usize::try_from(service.0).expect("three services")] = after;
        (after < before).then(|| {
            let idle = Idle::new(service, InstanceId(1), self.now, self.now, 1, after + 1);
            self.policy.plan(&self.config, &idle)
        })
    }
}

fn saved(policy: &LearnedSki) -> Vec<u8> {
    let mut bytes = Vec::new();
    policy.save(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn plans_are_the_same_after_saving_and_restoring_at_any_point(
        steps in steps(),
        split in any::<prop::sample::Index>(),
        many in any::<bool>(),
    ) {
        let config = if many { four_rungs(200) } else { one_rung(Duration::from_millis(50), 20) };
        let (mut through, mut split_up) = (World::new(config.clone()), World::new(config));
        let split = split.index(steps.len());
        for (index, step) in steps.into_iter().enumerate() {
            if index == split {
                let bytes = saved(&split_up.policy);
                let mut fresh = LearnedSki::new();
                prop_assert_eq!(fresh.restore(&bytes), Ok(()));
                prop_assert_eq!(saved(&fresh), bytes, "saved again it is the same");
                split_up.policy = fresh;
            }
            prop_assert_eq!(through.step(step), split_up.step(step));
        }
        prop_assert_eq!(saved(&through.policy), saved(&split_up.policy));
    }

    #[test]
    fn damaged_bytes_are_refused_and_change_nothing(
        steps in steps(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
        cut in any::<bool>(),
    ) {
        let mut world = World::new(four_rungs(200));
        steps.into_iter().for_each(|step| { world.step(step); });
        let bytes = saved(&world.policy);
        let mut damaged = bytes.clone();
        let at = at.index(bytes.len());
        if cut {
            damaged.truncate(at);
        } else {
            damaged[at] ^= flip;
        }
        prop_assert!(world.policy.restore(&damaged).is_err());
        prop_assert_eq!(saved(&world.policy), bytes);
    }

    #[test]
    fn any_bytes_behind_a_true_header_are_refused_or_usable(
        body in vec(any::<u8>(), 0..300),
        steps in steps(),
    ) {
        let mut world = World::new(four_rungs(200));
        let header = saved(&LearnedSki::new());
        let mut bytes = [&header[..10], &body].concat();
        bytes.extend_from_slice(&checksum(&bytes).to_le_bytes());
        if world.policy.restore(&bytes).is_ok() {
            steps.into_iter().for_each(|step| { world.step(step); });
        }
    }
}

/// FNV-1a, as the format says.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[test]
fn what_is_learned_at_the_end_of_time_is_taken_back() {
    const HOUR: u64 = 3_600_000_000;
    let mut world = World::new(one_rung(Duration::from_millis(5), 20));
    world.now = Timestamp::from_nanos(u64::MAX - 21 * HOUR * 1_000);
    for _ in 0..20 {
        world.step((1, HOUR, Step::Level(1)));
        world.step((1, 500, Step::Level(0)));
        let bytes = saved(&world.policy);
        assert_eq!(LearnedSki::new().restore(&bytes), Ok(()));
    }
    world.step((1, HOUR, Step::Level(1)));
    world.step((1, 500, Step::Level(0)));
    assert_eq!(LearnedSki::new().restore(&saved(&world.policy)), Ok(()));
}

#[test]
fn the_format_is_pinned() {
    let mut world = World::new(one_rung(Duration::from_millis(5), 20));
    for step in [
        (1, 0, Step::Level(1)),
        (0, 500, Step::Started(5_000)),
        (1, 3_000, Step::Level(0)),
        (1, 60_000_000, Step::Level(1)),
    ] {
        world.step(step);
    }
    let bytes = saved(&world.policy);
    assert_eq!(&bytes[..10], b"schedski\x01\x00");
    assert_eq!(
        bytes.len(),
        211,
        "a version of its own for every change of the format"
    );
    assert_eq!(checksum(&bytes), 2_418_503_701_748_941_536);
}

#[test]
fn foreign_bytes_are_told_from_damaged_ones() {
    let mut policy = LearnedSki::new();
    let good = saved(&policy);
    assert_eq!(policy.restore(&good), Ok(()));
    assert_eq!(policy.restore(b""), Err(RestoreError::Foreign));
    assert_eq!(policy.restore(b"something else"), Err(RestoreError::Foreign));
    let mut newer = good.clone();
    newer[8] = 2;
    assert_eq!(policy.restore(&newer), Err(RestoreError::Version { version: 2 }));
    assert_eq!(
        policy.restore(&good[..12]),
        Err(RestoreError::Truncated { at: 12 })
    );
    let mut damaged = good;
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let error = policy.restore(&damaged).expect_err("the checksum is wrong");
    assert_eq!(
        error.to_string(),
        "restore what a policy learned: the checksum is wrong, at 10"
    );
}
