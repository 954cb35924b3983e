//! A saved VM goes on, wherever it is restored.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use vmm_core::{
    CreateError, DetachedStreams, GenerationId, MARK_RESUMED, MARK_SERVING, Restore, RestoreError, Shell,
    ShellError, StateKind, Template, UserNetConfig, Vm, VmState,
};

use crate::common::{
    HTTP, MIB, PATIENCE, Saved, Test, WAYS, Way, ask, causes, config, connect, eventually, get, hypervisor,
    image_of, info, read_response, request, restore, save, saved_serving, serving, settle, wait_busy,
};

pub(crate) const TESTS: &[Test] = &[
    (
        "the_counter_goes_on_whichever_way_it_is_restored",
        the_counter_goes_on,
    ),
    ("a_vm_goes_on_after_it_was_saved", a_vm_goes_on_after_it_was_saved),
    ("clones_know_that_they_are", clones_know_that_they_are),
    (
        "connections_of_a_clone_are_reset",
        connections_of_a_clone_are_reset,
    ),
    ("a_restored_guest_knows_the_time", a_restored_guest_knows_the_time),
    (
        "a_restored_guest_says_that_it_runs_again",
        a_restored_guest_says_that_it_runs_again,
    ),
    ("spare_connections_survive", spare_connections_survive),
    (
        "a_guest_is_restored_as_busy_as_it_was",
        a_guest_is_restored_as_busy_as_it_was,
    ),
    (
        "a_vm_that_never_ran_can_be_restored",
        a_vm_that_never_ran_can_be_restored,
    ),
    (
        "states_of_another_shape_are_refused",
        states_of_another_shape_are_refused,
    ),
    (
        "guests_of_a_better_processor_are_refused_before_anything_is_made",
        guests_of_a_better_processor_are_refused_before_anything_is_made,
    ),
    (
        "guests_of_a_lesser_processor_go_on",
        guests_of_a_lesser_processor_go_on,
    ),
];

fn the_counter_goes_on() {
    let hypervisor = hypervisor();
    let vm = serving(&hypervisor, &config());
    assert_eq!(request(&vm, "/count"), "1");
    let (mut saved, _) = save(vm);
    let mut count = 1;
    for _ in 0..2 {
        for way in WAYS {
            let vm = restore(way, &hypervisor, &config(), &saved, DetachedStreams::default());
            count += 1;
            assert_eq!(request(&vm, "/count"), count.to_string(), "{way:?}");
            assert_eq!(info(&vm, "restores"), (count - 1).to_string(), "{way:?}");
            saved = save(vm).0;
        }
    }
}

fn a_vm_goes_on_after_it_was_saved() {
    let hypervisor = hypervisor();
    let mut vm = serving(&hypervisor, &config());
    let mut stream = connect(&vm);
    assert_eq!(get(&mut stream, "/count"), "1");
    let state = vm.pause().unwrap().save().unwrap();
    let saved = Saved {
        memory: image_of(&vm),
        state,
    };
    vm.start().unwrap();
    assert_eq!(get(&mut stream, "/count"), "2");
    let copy = restore(
        Way::Template,
        &hypervisor,
        &config(),
        &saved,
        DetachedStreams::default(),
    );
    assert_eq!(request(&copy, "/count"), "2");
    assert_eq!(get(&mut stream, "/count"), "3");
}

fn clones_know_that_they_are() {
    let hypervisor = hypervisor();
    let saved = saved_serving(&hypervisor, &config());
    let clone = |_| {
        restore(
            Way::Template,
            &hypervisor,
            &config(),
            &saved,
            DetachedStreams::default(),
        )
    };
    let clones: Vec<Vm> = (0..5).map(clone).collect();
    let told = |key: &str| -> BTreeSet<String> { clones.iter().map(|vm| info(vm, key)).collect() };
    assert_eq!(told("restores"), ["1".to_owned()].into());
    assert_eq!(told("generation").len(), 5);
    assert_eq!(told("random").len(), 5, "random numbers of clones differ");
    for vm in &clones {
        assert_eq!(request(vm, "/count"), "1");
    }
    let id = GenerationId([0xab; 16]);
    let restore = Restore {
        state: &saved.state,
        streams: DetachedStreams::default(),
        generation: id,
    };
    let vm = Vm::restore(&hypervisor, &config(), &saved.memory, restore).unwrap();
    vm.start().unwrap();
    assert_eq!(info(&vm, "generation"), "ab".repeat(16));
}

fn connections_of_a_clone_are_reset() {
    let hypervisor = hypervisor();
    let vm = serving(&hypervisor, &config());
    let mut stream = connect(&vm);
    assert_eq!(get(&mut stream, "/count"), "1");
    let (saved, streams) = save(vm);
    assert_eq!(streams.len(), 1);
    for _ in 0..5 {
        let clone = restore(
            Way::Template,
            &hypervisor,
            &config(),
            &saved,
            DetachedStreams::default(),
        );
        assert_eq!(request(&clone, "/count"), "2");
        let net = clone.net().unwrap();
        eventually("the connection without a stream is forgotten", || {
            net.connections() == 0
        });
    }
    let original = restore(Way::Template, &hypervisor, &config(), &saved, streams);
    assert_eq!(get(&mut stream, "/count"), "2");
    assert_eq!(original.net().unwrap().counts().connections_opened, 0);
}

fn a_restored_guest_knows_the_time() {
    let hypervisor = hypervisor();
    let vm = serving(&hypervisor, &config());
    let number = |vm: &Vm, key: &str| info(vm, key).parse::<u128>().unwrap();
    let mut monotonic = number(&vm, "monotonic_ns");
    let mut saved = save(vm).0;
    for way in WAYS {
        let vm = restore(way, &hypervisor, &config(), &saved, DetachedStreams::default());
        let host = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let before = host();
        let guest = number(&vm, "realtime_ns");
        let after = host();
        // The guest's clock is the host's at the restore, and runs by the counter from there.
        let slack = 10_000_000;
        assert!(
            (before - slack..after + slack).contains(&guest),
            "{way:?}: {before} {guest} {after}"
        );
        let later = number(&vm, "monotonic_ns");
        assert!(later > monotonic, "{way:?}: {later} after {monotonic}");
        monotonic = later;
        saved = save(vm).0;
    }
}

fn a_restored_guest_says_that_it_runs_again() {
    let hypervisor = hypervisor();
    let config = config().cmdline("resume_mark");
    let saved = saved_serving(&hypervisor, &config);
    for way in WAYS {
        let vm = restore(way, &hypervisor, &config, &saved, DetachedStreams::default());
        vm.handle().wait_mark(MARK_RESUMED, PATIENCE).unwrap();
        assert_eq!(vm.handle().marks().len(), 1, "marks of before are not told again");
    }
}

fn spare_connections_survive() {
    let hypervisor = hypervisor();
    let config = config().net(Some(UserNetConfig::default().spare(HTTP, 1)));
    let mut vm = serving(&hypervisor, &config);
    let net = vm.net().unwrap().clone();
    net.refill_spares();
    eventually("the spare is ready", || net.spares_ready());
    settle(&mut vm);
    let saved = save(vm).0;
    for way in WAYS {
        let vm = restore(way, &hypervisor, &config, &saved, DetachedStreams::default());
        assert!(vm.net().unwrap().spares_ready(), "{way:?}");
        assert_eq!(request(&vm, "/count"), "1");
        assert_eq!(vm.net().unwrap().counts().spares_used, 1, "{way:?}");
    }
}

fn a_guest_is_restored_as_busy_as_it_was() {
    let hypervisor = hypervisor();
    for way in WAYS {
        let mut vm = serving(&hypervisor, &config());
        let mut stream = connect(&vm);
        ask(&mut stream, "/burn?ms=100");
        wait_busy(&mut vm);
        let (saved, streams) = save(vm);
        let _vm = restore(way, &hypervisor, &config(), &saved, streams);
        assert_eq!(read_response(&mut stream), b"burned 100 ms\n", "{way:?}");
    }
}

fn a_vm_that_never_ran_can_be_restored() {
    let hypervisor = hypervisor();
    let vm = Vm::boot(&hypervisor, &config(), guest::ELF).unwrap();
    let saved = save(vm).0;
    for way in WAYS {
        let vm = restore(way, &hypervisor, &config(), &saved, DetachedStreams::default());
        vm.handle().wait_mark(MARK_SERVING, PATIENCE).unwrap();
        assert_eq!(request(&vm, "/count"), "1", "{way:?}");
    }
}

/// `saved` as if its guest had been told of EBX `change`d in CPUID leaf 7.
fn with_features(saved: &Saved, change: impl Fn(u32) -> u32) -> VmState {
    const ENTRY_BYTES: usize = 40;
    let mut sections = saved.state.to_sections().unwrap();
    let vcpu = sections
        .iter_mut()
        .find(|section| section.kind == StateKind::Vcpu)
        .unwrap();
    let word = |entry: &[u8], at: usize| u32::from_le_bytes(entry[4 * at..4 * at + 4].try_into().unwrap());
    let entries = usize::try_from(word(&vcpu.bytes, 0)).unwrap();
    let entry = vcpu.bytes[4..4 + entries]
        .chunks_exact_mut(ENTRY_BYTES)
        .find(|entry| (word(entry, 0), word(entry, 1)) == (7, 0))
        .unwrap();
    let ebx = change(word(entry, 4));
    entry[16..20].copy_from_slice(&ebx.to_le_bytes());
    VmState::from_sections(&sections).unwrap()
}

fn guests_of_a_better_processor_are_refused_before_anything_is_made() {
    let hypervisor = hypervisor();
    let saved = saved_serving(&hypervisor, &config());
    hypervisor.check(&saved.state).unwrap();
    let state = with_features(&saved, |_| u32::MAX);
    let error = hypervisor.check(&state).unwrap_err();
    let [mismatch] = error.mismatches[..] else {
        panic!("{error}")
    };
    assert_eq!((mismatch.leaf, mismatch.index, mismatch.register), (7, 0, "ebx"));
    assert_eq!(
        error.to_string(),
        format!(
            "CPUID differs: leaf 0x7.0 ebx 0xffffffff in the snapshot, {:#x} here",
            mismatch.here
        )
    );
    let restore = Restore {
        state: &state,
        streams: DetachedStreams::default(),
        generation: GenerationId([1; 16]),
    };
    let refused = Vm::restore(&hypervisor, &config(), &saved.memory, restore).unwrap_err();
    assert!(
        matches!(refused, RestoreError::Create(CreateError::Cpuid(_))),
        "{refused}"
    );
    let template = Template::from(Arc::new(state));
    let refused = Shell::new(&hypervisor, &config(), Some(&template)).unwrap_err();
    assert!(
        matches!(refused, ShellError::Create(CreateError::Cpuid(_))),
        "{refused}"
    );
}

fn guests_of_a_lesser_processor_go_on() {
    let hypervisor = hypervisor();
    let Saved { memory, state } = saved_serving(&hypervisor, &config());
    let whole = Saved { memory, state };
    // RDSEED, which this guest does without.
    let state = with_features(&whole, |ebx| ebx & !(1 << 18));
    hypervisor.check(&state).unwrap();
    let lesser = Saved {
        memory: whole.memory,
        state,
    };
    for way in [Way::Cold, Way::Template] {
        let vm = restore(way, &hypervisor, &config(), &lesser, DetachedStreams::default());
        assert_eq!(request(&vm, "/count"), "1", "{way:?}");
    }
}

fn states_of_another_shape_are_refused() {
    let hypervisor = hypervisor();
    let saved = saved_serving(&hypervisor, &config());
    let restore = || Restore {
        state: &saved.state,
        streams: DetachedStreams::default(),
        generation: GenerationId([1; 16]),
    };
    let other = config().memory_bytes(32 * MIB);
    let error = Vm::restore(&hypervisor, &other, &saved.memory, restore()).unwrap_err();
    assert!(matches!(error, RestoreError::Memory(_)), "{error}");
    let larger = saved_serving(&hypervisor, &other);
    let error = Vm::restore(&hypervisor, &other, &larger.memory, restore()).unwrap_err();
    assert!(
        matches!(error, RestoreError::Shape { what: "memory", .. }),
        "{error}"
    );
    let template = Template::from(Arc::new(saved.state.clone()));
    for template in [None, Some(&template)] {
        let shell = Shell::new(&hypervisor, &config().net(None), template).unwrap();
        let error = shell.adopt(&saved.memory, restore()).unwrap_err();
        assert!(
            matches!(error, RestoreError::Shape { what: "network", .. }),
            "{}",
            causes(&error)
        );
    }
}
