//! The parts of the demo unikernel that are pure: they take bytes and numbers, and are tested on the host.
//!
//! The binary of this package adds the hardware: ring 0, ports, the network device, the clock.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod boot;
mod frame;
mod generation;
mod http;
mod queue;
mod random;
mod slots;
mod text;
mod timeline;

pub use boot::{BootError, BootInfo, CommandLine, Entry, Physical, Window};
pub use frame::{Segment, SegmentKind};
pub use generation::{Generation, GenerationPage};
pub use http::{Action, App, MAX_HEAD_LEN, MAX_REPLY_LEN, REQUEST_PATIENCE_NS, Scratch, Session, Status};
pub use queue::{Queue, Ring, Used};
pub use random::Random;
pub use slots::{Slots, Waiting};
pub use text::{Text, decimal};
pub use timeline::Timeline;
