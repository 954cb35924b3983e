//! The whole chain on real KVM and through real sockets. Without KVM each test is reported ignored.

mod asleep;
mod client;
mod clock;
mod connections;
mod crowd;
mod cycles;
mod death;
mod demo;
#[path = "../../examples/embed.rs"]
mod embed;
mod ended;
mod hostile;
mod kernel;
mod learned;
mod limits;
mod process;
mod program;
mod service;
mod state;
mod unattended;
mod voice;
mod wedged;
mod work;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

/// A test and its name.
type Test = (&'static str, fn() -> Result<()>);

fn main() {
    let missing = vmm_core::Hypervisor::open().err();
    if let Some(missing) = &missing {
        eprintln!("these tests need KVM and are ignored: {missing}");
    }
    let topics: [&[Test]; 16] = [
        asleep::TESTS,
        clock::TESTS,
        connections::TESTS,
        crowd::TESTS,
        cycles::TESTS,
        death::TESTS,
        demo::TESTS,
        ended::TESTS,
        hostile::TESTS,
        learned::TESTS,
        program::TESTS,
        state::TESTS,
        unattended::TESTS,
        voice::TESTS,
        wedged::TESTS,
        work::TESTS,
    ];
    let tests = topics
        .into_iter()
        .flatten()
        .map(|&(name, test)| trial(name, test).with_ignored_flag(missing.is_some()));
    // What a program says that may not use KVM needs a system that can forbid it, and no KVM of its own.
    let limits = special(limits::TESTS, limits::lacking());
    let no_kvm = missing.is_some().then_some("there is no KVM");
    let terminal = special(voice::TERMINAL_TESTS, no_kvm.or_else(voice::lacking_terminal));
    let tests = tests.chain(limits).chain(terminal);
    libtest_mimic::run(&Arguments::from_args(), tests.collect()).exit();
}

/// Tests that need more than the others; `lacking` says what of that is not here.
fn special(tests: &'static [Test], lacking: Option<&'static str>) -> impl Iterator<Item = Trial> {
    tests.iter().map(move |&(name, test)| {
        if let Some(lacking) = lacking {
            eprintln!("{name} is ignored: {lacking}");
        }
        trial(name, test).with_ignored_flag(lacking.is_some())
    })
}

fn trial(name: &str, test: fn() -> Result<()>) -> Trial {
    Trial::test(name, move || {
        test().map_err(|error| Failed::from(format!("{error:#}")))
    })
    .with_kind("kvm")
}
