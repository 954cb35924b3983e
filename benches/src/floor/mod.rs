//! The floor: the least that restores the saved guest, system calls and nothing else.
//!
//! No code of `vmm-core` runs here. State is decoded from the saved bytes by docs/vm-state.md, memory is mapped from the
//! same memfd, and the guest is run, on the caller's own thread, until it writes mark 5 to its boot timer. There are no
//! devices: the guest touches none before.

mod cold;
#[expect(
    unsafe_code,
    reason = "maps memory and gives it to KVM with nothing in between"
)]
mod machine;
mod saved;
mod section;
mod stub;
mod warm;

pub use cold::restore;
pub use saved::Saved;
pub use section::{GenerationSection, IoApicSection, SectionError, VcpuSection};
pub use warm::WarmShell;
