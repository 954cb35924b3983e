//! The crate as its users see it: files, mappings and processes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod atomic;
mod common;
mod damage;
mod fuzzed;
#[cfg(target_arch = "x86_64")]
mod golden;
mod round_trip;
