//! The crate as its users see it, on real KVM.
//!
//! Tests run one after the other: some count the threads, descriptors and pages of this process. Without a usable
//! `/dev/kvm` they are reported as ignored, with the reason.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod boot;
mod common;
mod connections;
mod crowds;
mod elf;
mod hostile;
mod hypervisor;
mod memory;
mod pause;
mod pool;
mod process;
mod restore;
mod state_bytes;
mod stop;
mod streams;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};
use vmm_core::Hypervisor;

use crate::common::{Test, causes};

fn main() -> ExitCode {
    if hypervisor::is_child() {
        return hypervisor::child();
    }
    let mut args = Arguments::from_args();
    args.test_threads = Some(1);
    let lack = Hypervisor::open().err().map(|error| causes(&error));
    let tests = [
        hypervisor::TESTS,
        boot::TESTS,
        connections::TESTS,
        crowds::TESTS,
        pause::TESTS,
        stop::TESTS,
        restore::TESTS,
        streams::TESTS,
        state_bytes::TESTS,
        pool::TESTS,
        memory::TESTS,
        hostile::TESTS,
    ];
    let trial = |&(name, test): &Test| {
        let lack = lack.clone();
        let run = move || match lack {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => {
                test();
                Ok(Completion::Completed)
            }
        };
        Trial::ignorable_test(name, run).with_kind("kvm")
    };
    let trials = tests.concat().iter().map(trial).collect();
    libtest_mimic::run(&args, trials).exit_code()
}
