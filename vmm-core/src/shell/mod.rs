//! A VM made ahead of time, waiting to become any saved VM of its shape.
//!
//! Everything that costs is done when the shell is made: KVM's objects, the memory slot over a reservation, doorbells,
//! threads, the first entry into the guest, the pages it will touch. What is left for the wake is its memory, mapped or
//! copied, and the registers that differ.

mod warm_up;

use std::sync::Arc;

use vm_memory::GuestAddress;

use crate::config::VmConfig;
use crate::hypervisor::Hypervisor;
use crate::machine::{CreateError, Machine, WarmUp};
use crate::memory::{FillError, MapImageError, MemoryImage};
use crate::state::VmState;
use crate::vcpu::VcpuStateError;
use crate::vm::{Restore, RestoreError, Vm};

/// What shells are made for: the pauses of one guest.
#[derive(Debug, Clone)]
pub struct Template {
    /// One of its pauses. Adopting states that differ little from it costs almost no system call.
    pub state: Arc<VmState>,
    /// GPA ranges (first byte, bytes) that it touches when it wakes, in whole pages. They are mapped ahead, in the host and in
    /// KVM, so that a VM that is [filled](Shell::fill) meets no page fault there. Costs their size in memory for each shell.
    pub touched: Vec<(GuestAddress, u64)>,
}

/// A template that says nothing of what the guest touches.
impl From<Arc<VmState>> for Template {
    fn from(state: Arc<VmState>) -> Self {
        Self {
            state,
            touched: Vec::new(),
        }
    }
}

/// A VM made ahead. [`adopt`](Self::adopt) makes it a saved one.
#[derive(Debug)]
pub struct Shell {
    machine: Machine,
}

/// A shell could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShellError {
    /// The VM could not be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The vCPU refused the stub's or the template's state.
    #[error(transparent)]
    Vcpu(#[from] VcpuStateError),
    /// KVM did not run the stub.
    #[error("run the warm-up stub")]
    Stub(#[source] std::io::Error),
    /// The stub left the guest in another way than by its end.
    #[error("run the warm-up stub: unexpected exit {exit}")]
    StubExit {
        /// The exit, as KVM has it.
        exit: String,
    },
    /// The template's interrupt routes were refused.
    #[error("prepare the template's interrupt routes")]
    IoApic(#[source] std::io::Error),
}

impl Shell {
    /// Makes a VM of `config`'s shape and runs a stub in it, so that KVM has everything allocated.
    ///
    /// With a `template`, the shell is put into that state already. Without one any state of the shape can be adopted whose
    /// CPUID is this host's default.
    ///
    /// # Errors
    /// See [`ShellError`].
    pub fn new(
        hypervisor: &Hypervisor,
        config: &VmConfig,
        template: Option<&Template>,
    ) -> Result<Self, ShellError> {
        let cpuid = template.map(|template| &template.state.vcpu.cpuid);
        let machine = Machine::create(hypervisor, config, cpuid, WarmUp::Ahead)?;
        if let Some(Template { touched, .. }) = template {
            machine.ram.populate(touched);
        }
        let warmed = machine.vcpu.with_idle(|vcpu| {
            let fresh = vcpu.save(&machine.cpuid, &machine.msr_indices)?;
            warm_up::first_entry(vcpu)?;
            // The stubs change registers only; those are put back with everything else.
            match template {
                Some(Template { state, touched }) => {
                    warm_up::touch(vcpu, &hypervisor.rom, &state.vcpu.sregs, touched)?;
                    vcpu.prime(&state.vcpu)?;
                }
                None => vcpu.prime(&fresh)?,
            }
            Ok::<_, ShellError>(())
        });
        warmed.expect("a vCPU that is not run is idle")?;
        if let Some(Template { state, .. }) = template {
            machine
                .devices
                .ioapic()
                .restore(&state.ioapic)
                .map_err(ShellError::IoApic)?;
        }
        Ok(Self { machine })
    }

    /// Copies a saved VM's memory into this shell's: all of its pages that are not zero. O(bytes); for a small guest whose pages
    /// were touched ahead this is several times faster than [`load`](Self::load), which maps and leaves the copying to page
    /// faults.
    ///
    /// # Errors
    /// A run is not in the VM's RAM; the shell is gone then.
    pub fn fill<'a>(
        self,
        runs: impl IntoIterator<Item = (GuestAddress, &'a [u8])>,
    ) -> Result<LoadedShell, FillError> {
        self.machine.ram.fill(runs)?;
        Ok(LoadedShell {
            machine: self.machine,
            populate: Vec::new(),
        })
    }

    /// Maps a saved VM's memory over this shell's. Constant time: one mapping per RAM range.
    ///
    /// # Errors
    /// See [`MapImageError`]; the shell is gone then.
    pub fn load(self, memory: &MemoryImage) -> Result<LoadedShell, MapImageError> {
        self.machine.ram.map_image(memory)?;
        Ok(LoadedShell {
            machine: self.machine,
            populate: memory.populate.clone(),
        })
    }

    /// Makes this shell the saved VM: [`load`](Self::load), then [`LoadedShell::restore`].
    ///
    /// # Errors
    /// See [`RestoreError`]; the shell is gone then.
    pub fn adopt(self, memory: &MemoryImage, saved: Restore<'_>) -> Result<Vm, RestoreError> {
        self.load(memory)?.restore(saved)
    }
}

/// A shell that has a saved VM's memory, but not its state yet.
#[derive(Debug)]
pub struct LoadedShell {
    machine: Machine,
    populate: Vec<(GuestAddress, u64)>,
}

impl LoadedShell {
    /// Makes it the saved VM; [`Vm::start`] runs it. Sets only what differs from what the shell was made with.
    ///
    /// # Errors
    /// See [`RestoreError`]; the shell is gone then.
    pub fn restore(self, saved: Restore<'_>) -> Result<Vm, RestoreError> {
        Vm::adopt(self.machine, self.populate, saved)
    }
}
