//! A vCPU: its state, its run loop, its thread, and the kick that stops it.

#[expect(
    unsafe_code,
    reason = "sends a signal to a thread and writes to the run page behind its back"
)]
mod kick;
#[expect(unsafe_code, reason = "reads a union of the run page")]
mod run_loop;
#[expect(
    unsafe_code,
    reason = "KVM_SET_XSAVE takes a size that the type does not tell"
)]
mod state;
#[expect(unsafe_code, reason = "kicks the thread that it owns")]
mod thread;

pub(crate) use kick::install_kick_signal;
pub(crate) use run_loop::Buses;
pub(crate) use state::{Vcpu, VcpuState};
pub use state::{VcpuStateError, VcpuStateErrorKind};
pub(crate) use thread::VcpuThread;
