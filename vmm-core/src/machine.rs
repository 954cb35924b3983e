//! A VM's parts put together: KVM's file descriptors, memory, devices, threads. Not yet running anything.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvm_bindings::{CpuId, KVM_CAP_SPLIT_IRQCHIP, kvm_enable_cap};
use kvm_ioctls::VmFd;

use crate::arch::x86_64::cpuid;
use crate::arch::x86_64::cpuid_check::CpuidError;
use crate::bus::{BusError, SharedDevice};
use crate::config::VmConfig;
use crate::devices::boot_timer::BootTimer;
use crate::devices::generation::{Generation, GenerationId};
use crate::devices::ioapic::{IoApic, PINS};
use crate::devices::serial::{SerialLog, SerialPort};
use crate::event_loop::{EventLoop, EventLoopError, SharedSubscriber};
use crate::hypervisor::Hypervisor;
use crate::irq::IrqLine;
use crate::lifecycle::Lifecycle;
use crate::memory::rom::Rom;
use crate::memory::{GuestRam, ReserveError, SlotError, layout, register, register_rom};
use crate::net_port::{NetPort, NetPortError};
use crate::vcpu::{Buses, Vcpu, VcpuStateError, VcpuThread, install_kick_signal};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

const SERIAL_PORT: u64 = 0x3f8;
const SERIAL_PORT_LEN: u64 = 8;
const SERIAL_PIN: u32 = 4;
const NET_PIN: u32 = 5;
const GENERATION_PIN: u32 = 6;
const NET_BASE: u64 = layout::DEVICE_BASE;
const GENERATION_BASE: u64 = layout::DEVICE_BASE + layout::DEVICE_LEN;
const BOOT_TIMER_BASE: u64 = layout::DEVICE_BASE + 2 * layout::DEVICE_LEN;
/// Three pages below the BIOS area that Intel processors without "unrestricted guest" need (kernel `api.rst`, 4.36).
const TSS_ADDRESS: usize = 0xfffb_d000;

/// A VM could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// Memory could not be reserved.
    #[error(transparent)]
    Memory(#[from] ReserveError),
    /// A memory slot was refused.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// KVM or the kernel refused a step.
    #[error("create VM: {step}")]
    Step {
        /// Which step.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The vCPU could not be set up.
    #[error(transparent)]
    Vcpu(#[from] VcpuStateError),
    /// Two devices in one place.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// This host's processor cannot go on with the saved guest.
    #[error(transparent)]
    Cpuid(#[from] CpuidError),
    /// The network device could not be made.
    #[error(transparent)]
    Net(#[from] NetPortError),
    /// The event loop could not be started.
    #[error(transparent)]
    EventLoop(#[from] EventLoopError),
}

fn step<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> CreateError {
    move |error| CreateError::Step {
        step,
        source: error.into(),
    }
}

/// The parts. Fields are dropped in this order: threads that use the VM, then the VM, then its memory.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) vcpu: VcpuThread,
    pub(crate) event_loop: EventLoop,
    pub(crate) devices: Devices,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) cpuid: CpuId,
    pub(crate) msr_indices: Arc<[u32]>,
    pub(crate) ram: GuestRam,
    /// Kept mapped for the VM.
    _rom: Option<Arc<Rom>>,
}

/// Whether a machine has the pages that shells warm up on. Their slot costs what a slot costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WarmUp {
    Never,
    Ahead,
}

/// The devices whose state is saved, or that others talk to.
#[derive(Debug)]
pub(crate) struct Devices {
    pub(crate) ioapic: Arc<Mutex<IoApic>>,
    pub(crate) generation: Arc<Mutex<Generation>>,
    pub(crate) generation_irq: IrqLine,
    pub(crate) net: Option<NetPort>,
    pub(crate) serial: SerialLog,
}

impl Machine {
    /// Makes the VM. The order of the steps is what costs least: memory slots before the irqchip, one vCPU last.
    pub(crate) fn create(
        hypervisor: &Hypervisor,
        config: &VmConfig,
        cpuid: Option<&CpuId>,
        warm_up: WarmUp,
    ) -> Result<Self, CreateError> {
        let cpuid = match cpuid {
            Some(saved) => {
                hypervisor.check_cpuid(saved)?;
                saved.clone()
            }
            None => cpuid::for_vcpu(&hypervisor.cpuid, 0),
        };
        install_kick_signal().map_err(step("install the kick signal's handler"))?;
        let ram = GuestRam::reserve(config.memory_bytes)?;
        let vm = Arc::new(hypervisor.kvm.create_vm().map_err(step("KVM_CREATE_VM"))?);
        vm.set_tss_address(TSS_ADDRESS)
            .map_err(step("KVM_SET_TSS_ADDR"))?;
        // SAFETY: `ram` is a field of the returned machine that is dropped after everything that can run guest code, and on an
        // early return no vCPU exists that could.
        unsafe { register(&vm, &ram) }?;
        let rom = (warm_up == WarmUp::Ahead).then(|| Arc::clone(&hypervisor.rom));
        if let Some(rom) = &rom {
            // SAFETY: the returned machine holds `rom` as long as anything that can run guest code; see above.
            unsafe { register_rom(&vm, rom) }?;
        }
        split_irqchip(&vm)?;

        let fd = vm.create_vcpu(0).map_err(step("KVM_CREATE_VCPU"))?;
        let vcpu = Vcpu::new(fd, &cpuid)?;

        let id = GenerationId::random().map_err(step("draw a generation id"))?;
        let generation = Generation::new(ram.clone(), vcpu.clock, id);
        let lifecycle = Arc::new(Lifecycle::new());
        let (devices, buses) = Devices::create(&vm, &ram, config, generation, Arc::clone(&lifecycle))?;
        if let Some(net) = &devices.net {
            net.close_on_stop(&lifecycle);
        }
        let subscribers = devices
            .net
            .iter()
            .map(NetPort::subscriber)
            .collect::<Vec<SharedSubscriber>>();
        let event_loop = EventLoop::spawn(subscribers, Arc::clone(&lifecycle))?;
        let vcpu = VcpuThread::spawn(0, vcpu, buses, Arc::clone(&lifecycle))
            .map_err(step("start the vCPU thread"))?;
        // When the devices have failed, the guest is not to spin on without them.
        let stop_vcpu = vcpu.stopper();
        lifecycle.on_stop(Box::new(move |_| stop_vcpu()));
        let msr_indices = Arc::clone(&hypervisor.msr_indices);
        Ok(Self {
            vcpu,
            event_loop,
            devices,
            lifecycle,
            cpuid,
            msr_indices,
            ram,
            _rom: rom,
        })
    }
}

fn split_irqchip(vm: &VmFd) -> Result<(), CreateError> {
    let mut cap = kvm_enable_cap {
        cap: KVM_CAP_SPLIT_IRQCHIP,
        ..Default::default()
    };
    cap.args[0] = PINS as u64;
    vm.enable_cap(&cap).map_err(step("enable the split irqchip"))
}

impl Devices {
    fn create(
        vm: &Arc<VmFd>,
        ram: &GuestRam,
        config: &VmConfig,
        generation: Generation,
        lifecycle: Arc<Lifecycle>,
    ) -> Result<(Self, Buses), CreateError> {
        let serial = SerialLog::default();
        let ioapic = Arc::new(Mutex::new(IoApic::new(Arc::clone(vm))));
        let generation = Arc::new(Mutex::new(generation));
        let generation_irq = irq_line(vm, GENERATION_PIN)?;
        let port = SerialPort::new(irq_line(vm, SERIAL_PIN)?, serial.clone());

        let mut buses = Buses::default();
        buses
            .pio
            .insert(SERIAL_PORT, SERIAL_PORT_LEN, Arc::new(Mutex::new(port)))?;
        buses.mmio.insert(
            layout::IOAPIC_BASE,
            layout::IOAPIC_LEN,
            Arc::clone(&ioapic) as SharedDevice,
        )?;
        buses.mmio.insert(
            GENERATION_BASE,
            layout::DEVICE_LEN,
            Arc::clone(&generation) as SharedDevice,
        )?;
        let timer = Arc::new(Mutex::new(BootTimer(lifecycle)));
        buses.mmio.insert(BOOT_TIMER_BASE, layout::DEVICE_LEN, timer)?;
        let net = match &config.net {
            Some(net) => {
                let net = NetPort::create(net, ram, irq_line(vm, NET_PIN)?)?;
                net.register_doorbells(vm, NET_BASE)?;
                buses
                    .mmio
                    .insert(NET_BASE, layout::DEVICE_LEN, net.bus_device())?;
                Some(net)
            }
            None => None,
        };
        Ok((
            Self {
                ioapic,
                generation,
                generation_irq,
                net,
                serial,
            },
            buses,
        ))
    }

    /// What is appended to the command line so that the guest finds the devices (docs/guest-abi.md).
    pub(crate) fn cmdline(&self) -> String {
        let net = if self.net.is_some() {
            format!("virtio_mmio.device=4K@{NET_BASE:#x}:{NET_PIN} ")
        } else {
            String::new()
        };
        format!(
            "{net}vmm.generation=4K@{GENERATION_BASE:#x}:{GENERATION_PIN} vmm.boot_timer=4K@{BOOT_TIMER_BASE:#x}"
        )
    }

    pub(crate) fn ioapic(&self) -> MutexGuard<'_, IoApic> {
        self.ioapic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn generation(&self) -> MutexGuard<'_, Generation> {
        self.generation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn irq_line(vm: &VmFd, pin: u32) -> Result<IrqLine, CreateError> {
    let irqfd = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).map_err(step("create an irqfd"))?;
    vm.register_irqfd(&irqfd, pin).map_err(step("KVM_IRQFD"))?;
    Ok(IrqLine::new(Arc::new(irqfd)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever changes one of these makes another machine, and so another [`layout::MACHINE_VERSION`].
    #[test]
    fn machine_version_1_is_laid_out_like_this() {
        assert_eq!(layout::MACHINE_VERSION, 1);
        assert_eq!([SERIAL_PORT, SERIAL_PORT_LEN], [0x3f8, 8]);
        assert_eq!(
            [SERIAL_PIN, NET_PIN, GENERATION_PIN, u32::try_from(PINS).unwrap()],
            [4, 5, 6, 24]
        );
        assert_eq!(
            [NET_BASE, GENERATION_BASE, BOOT_TIMER_BASE],
            [0xd000_0000, 0xd000_1000, 0xd000_2000]
        );
        assert_eq!(
            [
                layout::MMIO_GAP_START,
                layout::HIGH_RAM_START,
                layout::IOAPIC_BASE
            ],
            [0xc000_0000, 1 << 32, 0xfec0_0000]
        );
    }
}
