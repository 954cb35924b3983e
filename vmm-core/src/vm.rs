//! A micro-VM: made by booting a kernel or by restoring a saved one, then started, paused and dropped.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use vm_memory::{GuestAddress, GuestMemoryMmap};

use crate::arch::x86_64::{boot, msr, regs};
use crate::config::VmConfig;
use crate::devices::generation::GenerationId;
use crate::handle::VmHandle;
use crate::hypervisor::Hypervisor;
use crate::kernel::{self, KernelError, Loaded};
use crate::lifecycle::{StopReason, VmStatus};
use crate::machine::{CreateError, Machine, WarmUp};
use crate::memory::{FillError, MapImageError, MemoryImage};
use crate::net_port::NetPortError;
use crate::paused::{Paused, SaveError};
use crate::state::VmState;
use crate::vcpu::VcpuStateError;
use crate::virtio::{DetachedStreams, DeviceCounts, UserNetHandle};

/// One micro-VM.
///
/// When its guest stops for good, its network streams end, behind the last byte that was acknowledged to the guest; its memory
/// stays until it is dropped.
///
/// Dropping it stops the guest, joins its threads and frees everything; that takes some hundred microseconds and belongs off
/// the hot path (see [`ShellPool`](crate::ShellPool)).
pub struct Vm {
    machine: Machine,
    /// Memory to be populated at the first start.
    populate: Mutex<Vec<(GuestAddress, u64)>>,
}

/// What to restore on top of a pause's memory: the state of the same pause, and what is new about this run.
#[derive(Debug)]
pub struct Restore<'a> {
    /// The state saved at that pause.
    pub state: &'a VmState,
    /// Ends of network streams that were open at the pause and still are; empty for a clone.
    pub streams: DetachedStreams,
    /// This run's identity; must never have been used before.
    pub generation: GenerationId,
}

/// A VM could not be booted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// It could not be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// Its kernel could not be loaded.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Its vCPU could not be set up.
    #[error(transparent)]
    Vcpu(#[from] VcpuStateError),
    /// The registers of a fresh vCPU could not be read or written.
    #[error("set up the vCPU to enter the kernel")]
    Entry(#[source] std::io::Error),
}

/// A saved VM could not be restored. The VM it was to be restored into is gone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// A new VM could not be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The state is of a VM of another shape.
    #[error("restore {what}: the state has {saved}, this VM has {here}")]
    Shape {
        /// What differs.
        what: &'static str,
        /// In the state.
        saved: String,
        /// In the VM.
        here: String,
    },
    /// Memory could not be mapped.
    #[error(transparent)]
    Memory(#[from] MapImageError),
    /// Memory could not be copied.
    #[error(transparent)]
    Fill(#[from] FillError),
    /// The vCPU refused its state.
    #[error(transparent)]
    Vcpu(#[from] VcpuStateError),
    /// The I/O APIC's routes were refused.
    #[error("restore the I/O APIC's interrupt routes")]
    IoApic(#[source] std::io::Error),
    /// The generation interrupt could not be raised.
    #[error("tell the guest of its new generation")]
    Generation(#[source] std::io::Error),
    /// The network device refused its state.
    #[error(transparent)]
    Net(#[from] NetPortError),
}

/// The VM cannot do this now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VmError {
    /// It has stopped for good.
    #[error("the VM has stopped")]
    Stopped(#[from] StopReason),
}

/// A guest could not be waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// It has stopped.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// Its state could not be read.
    #[error(transparent)]
    State(#[from] SaveError),
}

/// From the first to the last: how long a guest that is about to halt is left alone between two looks.
const FIRST_LOOK: Duration = Duration::from_micros(50);
const LAST_LOOK: Duration = Duration::from_millis(2);

impl Vm {
    /// Makes a VM and loads `kernel` (an ELF image) into it. [`start`](Self::start) runs it.
    ///
    /// # Errors
    /// See [`BootError`].
    pub fn boot(hypervisor: &Hypervisor, config: &VmConfig, kernel: &[u8]) -> Result<Self, BootError> {
        let machine = Machine::create(hypervisor, config, None, WarmUp::Never)?;
        let ram = &machine.ram;
        let loaded = kernel::load(ram, kernel, config.entry)?;
        let cmdline = format!("{} {}", config.cmdline, machine.devices.cmdline());
        kernel::write_cmdline(ram, cmdline.trim_start())?;
        boot::write_gdt(ram)?;
        match loaded {
            Loaded::Linux64(_) => {
                boot::write_page_tables(ram)?;
                boot::write_zero_page(ram, u32::try_from(cmdline.len()).unwrap_or(u32::MAX))?;
            }
            Loaded::Pvh(_) => boot::write_start_info(ram)?,
        }
        let entered = machine.vcpu.with_idle(|vcpu| {
            let reset = vcpu
                .fd
                .get_sregs()
                .map_err(|errno| BootError::Entry(errno.into()))?;
            msr::write(&vcpu.fd, &msr::boot_values())
                .map_err(|error| BootError::Entry(std::io::Error::other(error)))?;
            vcpu.enter(&regs::regs(loaded), &regs::sregs(loaded, reset))
                .map_err(BootError::from)
        });
        entered.expect("a vCPU that was never run is idle")?;
        Ok(Self {
            machine,
            populate: Mutex::default(),
        })
    }

    /// Makes a VM and restores a saved one into it. [`start`](Self::start) runs it. A [`Shell`](crate::Shell) does the same an
    /// order of magnitude faster.
    ///
    /// # Errors
    /// See [`RestoreError`].
    pub fn restore(
        hypervisor: &Hypervisor,
        config: &VmConfig,
        memory: &MemoryImage,
        saved: Restore<'_>,
    ) -> Result<Self, RestoreError> {
        let machine = Machine::create(hypervisor, config, Some(&saved.state.vcpu.cpuid), WarmUp::Never)?;
        machine.ram.map_image(memory)?;
        Self::adopt(machine, memory.populate.clone(), saved)
    }

    /// Makes `machine`, which has the memory of the same pause already, the saved VM.
    pub(crate) fn adopt(
        machine: Machine,
        populate: Vec<(GuestAddress, u64)>,
        saved: Restore<'_>,
    ) -> Result<Self, RestoreError> {
        let Restore {
            state,
            streams,
            generation,
        } = saved;
        if state.memory_bytes != machine.ram.bytes() {
            let (saved, here) = (
                format!("{} bytes", state.memory_bytes),
                format!("{} bytes", machine.ram.bytes()),
            );
            return Err(RestoreError::Shape {
                what: "memory",
                saved,
                here,
            });
        }
        let loaded = machine.vcpu.with_idle(|vcpu| vcpu.load(&state.vcpu));
        loaded.expect("a vCPU that is not run is idle")?;
        let devices = &machine.devices;
        devices
            .ioapic()
            .restore(&state.ioapic)
            .map_err(RestoreError::IoApic)?;
        let mut generation_device = devices.generation();
        generation_device.restore(&state.generation, generation);
        if generation_device.is_registered() {
            devices
                .generation_irq
                .trigger()
                .map_err(RestoreError::Generation)?;
        }
        drop(generation_device);
        match (&devices.net, &state.net) {
            (Some(net), Some(state)) => net.restore(state, streams)?,
            (None, None) => {}
            (here, saved) => {
                let name = |there| {
                    if there {
                        "a network device".to_owned()
                    } else {
                        "none".to_owned()
                    }
                };
                let (saved, here) = (name(saved.is_some()), name(here.is_some()));
                return Err(RestoreError::Shape {
                    what: "network",
                    saved,
                    here,
                });
            }
        }
        Ok(Self {
            machine,
            populate: Mutex::new(populate),
        })
    }

    /// Runs the guest. No effect on one that runs.
    ///
    /// # Errors
    /// The VM has stopped.
    pub fn start(&self) -> Result<(), VmError> {
        if let VmStatus::Stopped(reason) = self.machine.lifecycle.advance(VmStatus::Running) {
            return Err(reason.into());
        }
        self.machine.vcpu.run();
        self.machine.event_loop.resume();
        // Beside the guest's first instructions, which take longer to get going than most of this.
        let populate = std::mem::take(&mut *self.populate.lock().unwrap_or_else(PoisonError::into_inner));
        self.machine.ram.populate(&populate);
        Ok(())
    }

    /// Stops the guest between two instructions and its devices between two events; some tens of microseconds.
    ///
    /// # Errors
    /// The VM has stopped for good.
    pub fn pause(&mut self) -> Result<Paused<'_>, VmError> {
        self.machine.vcpu.pause();
        self.machine.event_loop.hold();
        match self.machine.lifecycle.advance(VmStatus::Paused) {
            VmStatus::Stopped(reason) => Err(reason.into()),
            _ => Ok(Paused::new(self)),
        }
    }

    /// Lets a guest that serves come to rest with its spare connections open, for at most `timeout`, and says whether it has: saved
    /// in such a moment it wakes quickest. The guest has to be running, and goes on.
    ///
    /// The link tells when nothing is under way. That the vCPU has halted then, some microseconds later, can only be looked
    /// at, by short pauses. [`Duration::MAX`] is as long as the VM lives.
    ///
    /// # Errors
    /// The VM has stopped, or its vCPU's state could not be read.
    pub fn settle(&mut self, timeout: Duration) -> Result<bool, SettleError> {
        let deadline = Instant::now().checked_add(timeout);
        let net = self.net().cloned();
        if let Some(net) = &net {
            net.refill_spares();
        }
        let mut step = FIRST_LOOK;
        loop {
            let left = deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
            let settled = net.as_ref().is_none_or(|net| net.wait_settled(left));
            let paused = self.pause()?;
            let rests = settled && paused.is_quiet()?;
            paused.resume()?;
            if rests || deadline.is_some_and(|at| Instant::now() >= at) {
                return Ok(rests);
            }
            std::thread::sleep(step);
            step = (2 * step).min(LAST_LOOK);
        }
    }

    /// A handle for other threads.
    #[must_use]
    pub fn handle(&self) -> VmHandle {
        let Machine {
            lifecycle, devices, ..
        } = &self.machine;
        VmHandle::new(Arc::clone(lifecycle), devices.serial.clone())
    }

    /// The host's end of the VM's network link, if it has one.
    #[must_use]
    pub fn net(&self) -> Option<&UserNetHandle> {
        self.machine.devices.net.as_ref().map(|net| net.handle())
    }

    /// What the VM's network device has counted, if it has one: interrupts, and what its driver did wrong. Waits for the pass
    /// over the rings that is under way, some microseconds.
    #[must_use]
    pub fn net_device_counts(&self) -> Option<DeviceCounts> {
        self.machine.devices.net.as_ref().map(|net| net.counts())
    }

    /// Guest memory. The guest changes it at any time unless it is paused.
    #[must_use]
    pub fn memory(&self) -> &GuestMemoryMmap {
        self.machine.ram.memory()
    }

    pub(crate) const fn machine(&self) -> &Machine {
        &self.machine
    }
}

impl fmt::Debug for Vm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.machine.lifecycle.status();
        f.debug_struct("Vm")
            .field("status", &status)
            .field("memory_bytes", &self.machine.ram.bytes())
            .finish()
    }
}
