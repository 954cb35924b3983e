//! A stock of shells.

use std::sync::Arc;
use std::time::Duration;

use vmm_core::{DetachedStreams, GenerationId, NotReady, Restore, ShellPool};

use crate::common::{
    MIB, PATIENCE, Saved, Test, bounded, causes, config, eventually, hypervisor, request, saved_serving,
    serving,
};
use crate::process::{descriptors, mappings, resident_bytes, wait_threads};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_pool_fills_and_refills_to_its_target",
        a_pool_fills_and_refills_to_its_target,
    ),
    ("a_template_replaces_the_stock", a_template_replaces_the_stock),
    (
        "a_pool_that_cannot_make_shells_says_why",
        a_pool_that_cannot_make_shells_says_why,
    ),
    (
        "a_pool_that_takes_longer_says_how_many_are_ready",
        a_pool_that_takes_longer_says_how_many_are_ready,
    ),
    (
        "used_vms_are_destroyed_even_when_shells_fail",
        used_vms_are_destroyed_even_when_shells_fail,
    ),
    (
        "dropping_a_pool_ends_everything_in_it",
        dropping_a_pool_ends_everything_in_it,
    ),
    (
        "two_hundred_wakes_leave_nothing_behind",
        two_hundred_wakes_leave_nothing_behind,
    ),
];

fn pool(target: usize) -> ShellPool {
    ShellPool::new(Arc::new(hypervisor()), config(), target).unwrap()
}

fn restore(saved: &Saved) -> Restore<'_> {
    Restore {
        state: &saved.state,
        streams: DetachedStreams::default(),
        generation: GenerationId::random().unwrap(),
    }
}

fn a_pool_fills_and_refills_to_its_target() {
    let saved = saved_serving(&hypervisor(), &config());
    let pool = pool(2);
    pool.wait_ready(5, PATIENCE).unwrap();
    assert_eq!(pool.ready(), 2);
    let vm = pool
        .take()
        .unwrap()
        .adopt(&saved.memory, restore(&saved))
        .unwrap();
    vm.start().unwrap();
    assert_eq!(request(&vm, "/count"), "1");
    pool.retire(vm);
    pool.wait_ready(2, PATIENCE).unwrap();
    assert_eq!(pool.ready(), 2);
    // Two shells of two threads each, and the pool's own.
    wait_threads(5);
    assert_eq!(pool.ready(), 2);
    let none = self::pool(0);
    none.wait_ready(1, PATIENCE).unwrap();
    assert_eq!(none.ready(), 0);
    assert!(none.take().is_none());
}

fn a_template_replaces_the_stock() {
    let saved = saved_serving(&hypervisor(), &config());
    let pool = pool(2);
    pool.wait_ready(2, PATIENCE).unwrap();
    pool.set_template(Arc::new(saved.state.clone()).into());
    pool.wait_ready(2, PATIENCE).unwrap();
    assert_eq!(pool.ready(), 2);
    wait_threads(5);
    let vm = pool
        .take()
        .unwrap()
        .adopt(&saved.memory, restore(&saved))
        .unwrap();
    vm.start().unwrap();
    assert_eq!(request(&vm, "/count"), "1");
}

fn a_pool_that_cannot_make_shells_says_why() {
    let pool = ShellPool::new(Arc::new(hypervisor()), config().memory_bytes(1), 1).unwrap();
    let error = pool.wait_ready(1, PATIENCE).unwrap_err();
    assert!(matches!(error, NotReady::Failed(_)));
    assert!(causes(&error).contains("reserve 1 bytes"), "{}", causes(&error));
    assert!(pool.take().is_none());
    pool.wait_ready(0, Duration::ZERO).unwrap();
    bounded("drop a pool that fails", || drop(pool));
}

fn a_pool_that_takes_longer_says_how_many_are_ready() {
    let pool = pool(50);
    let error = pool.wait_ready(50, Duration::ZERO).unwrap_err();
    let NotReady::TimedOut {
        ready, wanted: 50, ..
    } = error
    else {
        panic!("{error}")
    };
    assert!(ready < 50, "{error}");
    assert_eq!(
        error.to_string(),
        format!("{ready} of 50 shells are ready after 0 ms")
    );
}

fn used_vms_are_destroyed_even_when_shells_fail() {
    // What a used VM holds may be just what a new shell lacks.
    let vm = serving(&hypervisor(), &config());
    let pool = ShellPool::new(Arc::new(hypervisor()), config().memory_bytes(1), 1).unwrap();
    pool.wait_ready(1, PATIENCE).unwrap_err();
    pool.retire(vm);
    wait_threads(1);
}

fn dropping_a_pool_ends_everything_in_it() {
    wait_threads(0);
    let pool = pool(3);
    pool.wait_ready(3, PATIENCE).unwrap();
    let taken = pool.take().unwrap();
    pool.retire(serving(&hypervisor(), &config()));
    bounded("drop a pool", || drop(pool));
    wait_threads(2);
    drop(taken);
    wait_threads(0);
    // A pool that is dropped at once has hardly begun.
    bounded("drop a new pool", || drop(self::pool(3)));
    wait_threads(0);
}

fn two_hundred_wakes_leave_nothing_behind() {
    let saved = saved_serving(&hypervisor(), &config());
    let wake = |count: usize| {
        let pool = pool(2);
        pool.set_template(Arc::new(saved.state.clone()).into());
        for _ in 0..count {
            eventually("a shell is ready", || pool.ready() > 0);
            let shell = pool.take().unwrap();
            let vm = shell.adopt(&saved.memory, restore(&saved)).unwrap();
            vm.start().unwrap();
            assert_eq!(request(&vm, "/count"), "1");
            pool.retire(vm);
        }
        drop(pool);
        wait_threads(0);
        (descriptors(), mappings(), resident_bytes())
    };
    // The first ones also fill the allocator and the page tables.
    let (descriptors, mappings, resident) = wake(20);
    let after = wake(200);
    assert_eq!(after.0, descriptors);
    assert!(after.1 < mappings + 16, "{} mappings, {mappings} before", after.1);
    let grown = after.2.saturating_sub(resident);
    assert!(grown < 4 * MIB, "{grown} bytes more after 200 wakes");
}
