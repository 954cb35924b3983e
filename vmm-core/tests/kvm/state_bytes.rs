//! State as bytes: it comes back the same, and damage is found or does no harm.

use std::time::Duration;

use vmm_core::{DetachedStreams, GenerationId, Restore, Shell, StateError, StateKind, StateSection, VmState};

use crate::common::{
    Random, Saved, Test, WAYS, bounded, config, connect, get, hypervisor, request, restore, save,
    saved_serving, serving, stops,
};

pub(crate) const TESTS: &[Test] = &[
    ("state_comes_back_from_its_bytes", state_comes_back_from_its_bytes),
    (
        "cut_and_overlong_sections_are_refused",
        cut_and_overlong_sections_are_refused,
    ),
    (
        "missing_and_repeated_sections_are_refused",
        missing_and_repeated_sections_are_refused,
    ),
    (
        "flipped_bits_are_refused_or_harm_only_the_guest",
        flipped_bits_are_refused_or_harm_only_the_guest,
    ),
    ("random_sections_are_refused", random_sections_are_refused),
];

/// The state of a guest with a connection, whose link has something to save.
fn saved_with_connection() -> Saved {
    let vm = serving(&hypervisor(), &config());
    let mut stream = connect(&vm);
    get(&mut stream, "/count");
    save(vm).0
}

fn state_comes_back_from_its_bytes() {
    let hypervisor = hypervisor();
    let Saved { memory, state } = saved_with_connection();
    let sections = state.to_sections().unwrap();
    let kinds: Vec<_> = sections.iter().map(|section| section.kind).collect();
    use StateKind::{Generation, IoApic, Machine, Net, Vcpu};
    assert_eq!(kinds, [Machine, Vcpu, IoApic, Generation, Net]);
    for kind in kinds {
        assert_eq!(StateKind::from_number(kind.number()), Some(kind));
    }
    let mut reversed = sections.clone();
    reversed.reverse();
    let state = VmState::from_sections(&reversed).unwrap();
    assert_eq!(state.memory_bytes(), config().memory_bytes);
    assert!(state.to_sections().unwrap() == sections, "the same bytes again");
    let saved = Saved { memory, state };
    for way in WAYS {
        let vm = restore(way, &hypervisor, &config(), &saved, DetachedStreams::default());
        assert_eq!(request(&vm, "/count"), "2", "{way:?}");
    }
}

/// `sections` with one of them changed.
fn with(sections: &[StateSection], index: usize, change: impl FnOnce(&mut Vec<u8>)) -> Vec<StateSection> {
    let mut sections = sections.to_vec();
    change(&mut sections[index].bytes);
    sections
}

fn cut_and_overlong_sections_are_refused() {
    let sections = saved_with_connection().state.to_sections().unwrap();
    for (index, section) in sections.iter().enumerate() {
        for len in 0..section.bytes.len() {
            let error = VmState::from_sections(&with(&sections, index, |bytes| bytes.truncate(len)));
            assert!(error.is_err(), "{:?} of {len} bytes", section.kind);
        }
        for more in [1, 4, 4096] {
            let error = VmState::from_sections(&with(&sections, index, |bytes| {
                bytes.resize(bytes.len() + more, 0);
            }));
            assert!(error.is_err(), "{:?} with {more} bytes more", section.kind);
        }
    }
}

fn missing_and_repeated_sections_are_refused() {
    let sections = saved_serving(&hypervisor(), &config())
        .state
        .to_sections()
        .unwrap();
    for (index, section) in sections.iter().enumerate() {
        let kind = section.kind;
        let mut fewer = sections.clone();
        fewer.remove(index);
        match VmState::from_sections(&fewer) {
            // A VM without a network has none.
            Ok(_) => assert_eq!(kind, StateKind::Net),
            Err(StateError::Missing { kind: missing }) => assert_eq!(missing, kind),
            Err(error) => panic!("{error}"),
        }
        let mut more = sections.clone();
        more.push(section.clone());
        assert!(
            matches!(VmState::from_sections(&more), Err(StateError::Duplicate { kind: twice }) if twice == kind)
        );
        let mut later = sections.clone();
        later[index].version += 1;
        let version = later[index].version;
        let error = VmState::from_sections(&later).unwrap_err();
        assert!(
            matches!(error, StateError::Version { kind: of, found } if of == kind && found == version),
            "{error}"
        );
    }
}

fn flipped_bits_are_refused_or_harm_only_the_guest() {
    let hypervisor = hypervisor();
    let Saved { memory, state } = saved_with_connection();
    let sections = state.to_sections().unwrap();
    let mut random = Random::new(3);
    let (mut refused, mut unfit, mut ran) = (0, 0, 0);
    for n in 0..400 {
        // Every section in turn, however short it is.
        let index = n % sections.len();
        let bytes = sections[index].bytes.len();
        let (at, bit) = (random.below(bytes), random.below(8));
        let Ok(state) = VmState::from_sections(&with(&sections, index, |bytes| bytes[at] ^= 1 << bit)) else {
            refused += 1;
            continue;
        };
        let what = format!("{:?}, byte {at}, bit {bit}", sections[index].kind);
        let started = bounded(&what, || {
            let restore = Restore {
                state: &state,
                streams: DetachedStreams::default(),
                generation: GenerationId([1; 16]),
            };
            let shell = Shell::new(&hypervisor, &config(), None).unwrap();
            let Ok(mut vm) = shell.adopt(&memory, restore) else {
                return false;
            };
            let stopped = stops(&vm.handle());
            vm.start().unwrap();
            // It may work, hang or stop; all of them can be paused, saved and dropped.
            let _ = stopped.recv_timeout(Duration::from_millis(1));
            if let Ok(paused) = vm.pause() {
                paused.save().unwrap().to_sections().unwrap();
            }
            true
        });
        if started { ran += 1 } else { unfit += 1 }
    }
    assert!(
        refused > 0 && unfit > 0 && ran > 0,
        "{refused} refused, {unfit} unfit, {ran} ran"
    );
}

fn random_sections_are_refused() {
    let sections = saved_serving(&hypervisor(), &config())
        .state
        .to_sections()
        .unwrap();
    let mut random = Random::new(5);
    for n in 0..2_000 {
        let index = 1 + n % (sections.len() - 1);
        let len = random.below(2 * sections[index].bytes.len());
        let noise: Vec<u8> = (0..len).map(|_| random.word().to_le_bytes()[0]).collect();
        // Short ones may by chance be something; none may be too much for us.
        let _ = VmState::from_sections(&with(&sections, index, |bytes| *bytes = noise));
    }
}
