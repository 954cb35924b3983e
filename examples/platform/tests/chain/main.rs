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
mod hostile;
mod kernel;
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
    let topics: [&[Test]; 14] = [
        asleep::TESTS,
        clock::TESTS,
        connections::TESTS,
        crowd::TESTS,
        cycles::TESTS,
        death::TESTS,
        demo::TESTS,
        hostile::TESTS,
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
    let limits = limits::TESTS.iter().map(|&(name, test)| {
        let lacking = limits::lacking();
        if let Some(lacking) = lacking {
            eprintln!("{name} is ignored: {lacking}");
        }
        trial(name, test).with_ignored_flag(lacking.is_some())
    });
    libtest_mimic::run(&Arguments::from_args(), tests.chain(limits).collect()).exit();
}

fn trial(name: &str, test: fn() -> Result<()>) -> Trial {
    Trial::test(name, move || {
        test().map_err(|error| Failed::from(format!("{error:#}")))
    })
    .with_kind("kvm")
}
