//! What the boot protocol hands over: where RAM is, and the command line.

mod command_line;
mod info;

pub use command_line::{CommandLine, Window};
pub use info::{BootError, BootInfo, Entry, Physical};
