//! A paused VM: the only place its state can be taken from.

use vm_memory::GuestMemoryMmap;

use crate::net_port::NetState;
use crate::state::VmState;
use crate::vcpu::VcpuStateError;
use crate::virtio::DetachedStreams;
use crate::vm::{Vm, VmError};

/// A VM that runs neither guest code nor device code for as long as this borrow lives.
///
/// Dropping it leaves the VM paused; [`resume`](Self::resume) or a later [`Vm::start`] lets it go on.
#[derive(Debug)]
pub struct Paused<'vm> {
    vm: &'vm mut Vm,
}

/// State could not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// From the vCPU.
    #[error(transparent)]
    Vcpu(#[from] VcpuStateError),
}

impl<'vm> Paused<'vm> {
    pub(crate) const fn new(vm: &'vm mut Vm) -> Self {
        Self { vm }
    }

    /// Whether nothing is going on: the vCPU has halted and waits for an interrupt, and no byte is under way on the network.
    ///
    /// A VM that is not quiet can be saved all the same, but somebody may be waiting for what it was about to do.
    ///
    /// # Errors
    /// The vCPU's state could not be read.
    pub fn is_quiet(&self) -> Result<bool, SaveError> {
        let machine = self.vm.machine();
        let halted = machine
            .vcpu
            .with_idle(|vcpu| vcpu.is_halted())
            .expect("paused: the vCPU is idle")?;
        Ok(halted && machine.devices.net.as_ref().is_none_or(|net| net.is_quiet()))
    }

    /// The state of everything but memory. The VM can go on afterwards.
    ///
    /// Together with [`memory`](Self::memory), copied before anything runs again, this is the whole VM.
    ///
    /// # Errors
    /// The kernel refused to tell.
    pub fn save(&self) -> Result<VmState, SaveError> {
        let net = self.vm.machine().devices.net.as_ref().map(|net| net.state());
        self.save_with(net)
    }

    /// Like [`save`](Self::save), and takes the host's ends of open network streams out of this VM, so that the VM restored
    /// from the state can be given them. This VM must not go on.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_with_streams(self) -> Result<(VmState, DetachedStreams), SaveError> {
        let detached = self.vm.machine().devices.net.as_ref().map(|net| net.detach());
        let (net, streams) = detached.unzip();
        Ok((self.save_with(net)?, streams.unwrap_or_default()))
    }

    fn save_with(&self, net: Option<NetState>) -> Result<VmState, SaveError> {
        let machine = self.vm.machine();
        let vcpu = machine
            .vcpu
            .with_idle(|vcpu| vcpu.save(&machine.cpuid, &machine.msr_indices));
        Ok(VmState {
            memory_bytes: machine.ram.bytes(),
            vcpu: vcpu.expect("paused: the vCPU is idle")?,
            ioapic: *machine.devices.ioapic().state(),
            generation: machine.devices.generation().state(),
            net,
        })
    }

    /// Guest memory, which does not change while this borrow lives.
    #[must_use]
    pub fn memory(&self) -> &GuestMemoryMmap {
        self.vm.machine().ram.memory()
    }

    /// Lets the VM go on.
    ///
    /// # Errors
    /// The VM has stopped.
    pub fn resume(self) -> Result<(), VmError> {
        self.vm.start()
    }
}
