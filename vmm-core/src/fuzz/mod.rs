//! What fuzzers feed (fuzz/README.md): functions beside the decoders that take any bytes, drive one decoder of guest or snapshot
//! bytes with them, and panic if a promise is broken. The tests here feed them the corpus and random bytes.

mod input;

pub use crate::state::fuzz_state;
pub use crate::virtio::{fuzz_link, fuzz_link_state, fuzz_queues};
pub(crate) use input::Input;

#[cfg(test)]
mod tests;
