//! A vCPU: its state, its run loop, its thread, and the kick that stops it.

mod kick;
mod run_loop;
mod state;
mod thread;

pub(crate) use kick::install_kick_signal;
pub(crate) use run_loop::Buses;
pub(crate) use state::{Vcpu, VcpuState};
pub use state::{VcpuStateError, VcpuStateErrorKind};
pub(crate) use thread::VcpuThread;
