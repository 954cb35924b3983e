//! A VM made ahead of time, waiting to become any saved VM of its shape.
//!
//! Everything that costs is done when the shell is made: KVM's objects, the memory slot over a reservation, doorbells,
//! threads, the first entry into the guest. What is left for the wake is one `mmap` and the registers that differ.

use kvm_ioctls::VcpuExit;
use vm_memory::{Bytes, GuestAddress};

use crate::arch::x86_64::regs;
use crate::config::VmConfig;
use crate::hypervisor::Hypervisor;
use crate::machine::{CreateError, Machine};
use crate::memory::{MapImageError, MemoryImage};
use crate::state::VmState;
use crate::vcpu::{Vcpu, VcpuStateError};
use crate::vm::{Restore, RestoreError, Vm};

/// Where the stub runs, and what it is: `out 0x80, al`.
const STUB: GuestAddress = GuestAddress(0x1000);
const STUB_CODE: [u8; 2] = [0xe6, 0x80];
const STUB_PORT: u16 = 0x80;

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
    /// The stub could not be written or did not run to its end.
    #[error("run the warm-up stub: {0}")]
    Stub(String),
    /// The template's interrupt routes were refused.
    #[error("prepare the template's interrupt routes")]
    IoApic(#[source] std::io::Error),
}

impl Shell {
    /// Makes a VM of `config`'s shape and runs a stub in it, so that KVM has everything allocated.
    ///
    /// With a `template`, the shell is put into that state already; adopting states that differ little from it (another
    /// pause of the same guest) then costs almost no system call. Without one any state of the shape can be adopted whose
    /// CPUID is this host's default.
    ///
    /// # Errors
    /// See [`ShellError`].
    pub fn new(
        hypervisor: &Hypervisor,
        config: &VmConfig,
        template: Option<&VmState>,
    ) -> Result<Self, ShellError> {
        let machine = Machine::create(hypervisor, config, template.map(|state| &state.vcpu.cpuid))?;
        machine
            .ram
            .memory()
            .write_slice(&STUB_CODE, STUB)
            .map_err(|error| ShellError::Stub(error.to_string()))?;
        let warmed = machine.vcpu.with_idle(|vcpu| {
            let fresh = vcpu.save(&machine.cpuid, &machine.msr_indices)?;
            run_stub(vcpu)?;
            // The stub changed registers only; those of the reset state are put back with everything else.
            match template {
                Some(state) => vcpu.prime(&state.vcpu)?,
                None => vcpu.prime(&fresh)?,
            }
            Ok::<_, ShellError>(())
        });
        warmed.expect("a vCPU that is not run is idle")?;
        if let Some(state) = template {
            machine
                .devices
                .ioapic()
                .restore(&state.ioapic)
                .map_err(ShellError::IoApic)?;
        }
        Ok(Self { machine })
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

fn run_stub(vcpu: &mut Vcpu) -> Result<(), ShellError> {
    let kernel = |errno: kvm_ioctls::Error| ShellError::Stub(errno.to_string());
    let sregs = vcpu.fd.get_sregs().map_err(kernel)?;
    vcpu.enter(&regs::real_mode_regs(STUB.0), &regs::real_mode_sregs(sregs))?;
    match vcpu.fd.run().map_err(kernel)? {
        VcpuExit::IoOut(STUB_PORT, _) => {}
        exit => return Err(ShellError::Stub(format!("unexpected exit {exit:?}"))),
    }
    // KVM finishes the port write on the next entry; that entry must not run on.
    vcpu.fd.set_kvm_immediate_exit(1);
    let finished = vcpu.fd.run().map(|exit| format!("{exit:?}"));
    vcpu.fd.set_kvm_immediate_exit(0);
    match finished {
        Ok(exit) => Err(ShellError::Stub(format!("unexpected exit {exit}"))),
        Err(errno) if errno.errno() == libc::EINTR => Ok(()),
        Err(errno) => Err(kernel(errno)),
    }
}
