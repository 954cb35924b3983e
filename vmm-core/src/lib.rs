#![doc = include_str!("../README.md")]

mod arch;
mod bus;
mod config;
mod devices;
mod event_loop;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
mod handle;
mod hypervisor;
mod irq;
mod kernel;
mod lifecycle;
#[expect(unsafe_code, reason = "vouches for the memory that KVM is given")]
mod machine;
mod memory;
mod net_port;
mod paused;
mod pool;
mod shell;
mod state;
mod vcpu;
mod virtio;
mod vm;

pub use arch::x86_64::cpuid_check::{CpuidError, CpuidMismatch};
pub use bus::BusError;
pub use config::VmConfig;
pub use devices::boot_timer::{MARK_RESUMED, MARK_SERVING};
pub use devices::generation::GenerationId;
pub use event_loop::EventLoopError;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub use fuzz::{fuzz_link, fuzz_link_state, fuzz_queues, fuzz_state};
pub use handle::VmHandle;
pub use hypervisor::{Capabilities, Capability, Hypervisor, OpenError};
pub use kernel::{Entry, KernelError};
pub use lifecycle::{Mark, StopReason, VmStatus, WaitError};
pub use machine::CreateError;
pub use memory::{FillError, ImageRegion, MapImageError, MemoryImage, ReserveError, RomError, SlotError};
pub use net_port::NetPortError;
pub use paused::{Paused, SaveError};
pub use pool::{NotReady, ShellPool};
pub use shell::{LoadedShell, Shell, ShellError, Template};
pub use state::{StateError, StateKind, StateSection, VmState};
pub use vcpu::{VcpuStateError, VcpuStateErrorKind};
pub use virtio::{
    AttachError, ConnectError, ConnectionId, DetachedStreams, DeviceCounts, EgressPolicy, MacAddress,
    NetConfig, NetConfigError, RestoreError as TransportRestoreError, RingError, Spare, TcpStateError,
    UserNetConfig, UserNetCounts, UserNetError, UserNetHandle,
};
pub use vm::{BootError, Restore, RestoreError, SettleError, Vm, VmError};
