//! The virtio-mmio transport, version 2 (virtio 1.2, section 4.2).

use std::fmt;
use std::sync::Arc;

use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::counters::{DeviceCounters, DeviceCounts};
use super::device::VirtioDevice;
use super::features::Features;
use super::notify::IoEventFd;
use super::registers as reg;
use super::registers::QueueRegisters;
use super::ring::{Ring, RingError};
use super::state::{RestoreError, TransportState};
use super::status::DeviceStatus;
use crate::bus::BusDevice;
use crate::irq::IrqLine;

/// Size of the register window in bytes.
const WINDOW: u64 = 0x1000;

/// A virtio device behind a window of registers: bus device, event-loop subscriber, saved and restored state.
///
/// Its owner puts it into an `Arc<Mutex<_>>`, on the bus, and into the event loop, and registers its
/// [`ioeventfds`](Self::ioeventfds). The lock is held for one register access or one pass over the rings.
pub(crate) struct VirtioMmio<D> {
    pub(super) device: D,
    pub(super) mem: Arc<GuestMemoryMmap>,
    irq: IrqLine,
    /// Takes acknowledgements that need no exit. Nobody reads it.
    acknowledged: EventFd,
    pub(super) notify: Vec<EventFd>,
    features: Features,
    status: DeviceStatus,
    queue_sel: u32,
    registers: Vec<QueueRegisters>,
    pub(super) rings: Vec<Option<Ring>>,
    config_changed: bool,
    counters: DeviceCounters,
}

impl<D: VirtioDevice> VirtioMmio<D> {
    /// A device in reset that works on `mem` and raises `irq`.
    ///
    /// # Errors
    /// The system is out of file descriptors: one for each queue and one more are needed.
    pub(crate) fn new(device: D, mem: Arc<GuestMemoryMmap>, irq: IrqLine) -> std::io::Result<Self> {
        let queues = device.queue_sizes().len();
        let event = || EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC);
        Ok(VirtioMmio {
            features: Features::new(device.features()),
            acknowledged: event()?,
            notify: (0..queues).map(|_| event()).collect::<Result<_, _>>()?,
            status: DeviceStatus::Reset,
            queue_sel: 0,
            registers: vec![QueueRegisters::default(); queues],
            rings: (0..queues).map(|_| None).collect(),
            config_changed: false,
            counters: DeviceCounters::default(),
            device,
            mem,
            irq,
        })
    }

    /// What to register with KVM, once, so that notifications and acknowledgements cost no exit.
    pub(crate) fn ioeventfds(&self) -> impl Iterator<Item = IoEventFd<'_>> {
        let queues = (0..).zip(&self.notify).map(|(queue, fd)| IoEventFd {
            offset: reg::QUEUE_NOTIFY.into(),
            datamatch: Some(queue),
            fd,
        });
        let acknowledge = IoEventFd {
            offset: reg::INTERRUPT_ACK.into(),
            datamatch: Some(reg::INT_VRING),
            fd: &self.acknowledged,
        };
        queues.chain([acknowledge])
    }

    /// The device behind the transport.
    pub(crate) fn device(&self) -> &D {
        &self.device
    }

    /// The device behind the transport, for saving and restoring what it keeps for itself.
    pub(crate) fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// What the transport has counted so far.
    pub(crate) fn counts(&self) -> DeviceCounts {
        self.counters.counts(self.device.malformed_chains())
    }

    /// The state to save. The guest and the event loop must be standing still.
    pub(crate) fn state(&self) -> TransportState {
        let queue = |(registers, ring): (&QueueRegisters, &Option<Ring>)| match ring {
            Some(ring) => ring.state(),
            None => registers.state(),
        };
        TransportState {
            device_id: D::ID,
            status: self.status,
            driver_features: self.features.acked,
            device_features_page: self.features.offered_page,
            driver_features_page: self.features.acked_page,
            queue_sel: self.queue_sel,
            config_changed: self.config_changed,
            queues: self.registers.iter().zip(&self.rings).map(queue).collect(),
        }
    }

    /// Takes a saved state over. The guest memory must be the one of the same moment, already in place. Call
    /// [`kick`](Self::kick) afterwards, when the guest may run.
    ///
    /// # Errors
    /// The state is not one this device can be in; the device stays as it was.
    pub(crate) fn restore(&mut self, state: &TransportState) -> Result<(), RestoreError> {
        if state.device_id != D::ID {
            return Err(RestoreError::Device {
                expected: D::ID,
                found: state.device_id,
            });
        }
        if state.queues.len() != self.rings.len() {
            return Err(RestoreError::QueueCount {
                expected: self.rings.len(),
                found: state.queues.len(),
            });
        }
        let mut features = Features::new(self.device.features());
        features.acked = state.driver_features;
        features.offered_page = state.device_features_page;
        features.acked_page = state.driver_features_page;
        let set_up = matches!(
            state.status,
            DeviceStatus::FeaturesOk | DeviceStatus::Running | DeviceStatus::NeedsReset
        );
        if set_up && !features.acceptable() {
            return Err(RestoreError::Features {
                acked: features.acked,
                offered: self.device.features(),
            });
        }
        let event_idx = features.has(VIRTIO_RING_F_EVENT_IDX);
        let mut rings = Vec::with_capacity(self.rings.len());
        for (queue, (saved, max_size)) in state.queues.iter().zip(self.device.queue_sizes()).enumerate() {
            if saved.ready && !set_up && state.status != DeviceStatus::Failed {
                return Err(RestoreError::QueueTooEarly {
                    queue,
                    status: state.status.bits(),
                });
            }
            let ring = |saved| Ring::new(&self.mem, *max_size, event_idx, saved);
            let ring = saved.ready.then(|| ring(saved)).transpose();
            rings.push(ring.map_err(|source| RestoreError::Queue { queue, source })?);
        }
        self.registers = state.queues.iter().map(QueueRegisters::from).collect();
        self.rings = rings;
        self.features = features;
        self.status = state.status;
        self.queue_sel = state.queue_sel;
        self.config_changed = state.config_changed;
        Ok(())
    }

    /// Does all there is to do once, whether or not anything was notified: after a restore, notifications that were
    /// under way are gone. Raises an interrupt as well if the driver may be waiting for a lost one.
    pub(crate) fn kick(&mut self) {
        self.device.wake();
        let owed = |ring: &Ring| ring.may_owe_interrupt(&self.mem);
        // Only the first queue: a driver that waits on another one has work of its own to hand in first.
        let owed = match self.rings.first().and_then(Option::as_ref).map(owed) {
            _ if self.status != DeviceStatus::Running => false,
            None => false,
            Some(Ok(owed)) => owed,
            Some(Err(error)) => return self.stop(&error),
        };
        self.pass(owed);
    }

    /// One pass over the rings, the interrupt for it, and then what may come after.
    pub(super) fn pass(&mut self, owed: bool) {
        if self.status == DeviceStatus::Running {
            match self.device.run(&self.mem, &mut self.rings) {
                Ok(pass) => {
                    if pass.interrupt || owed {
                        self.interrupt();
                    }
                    if pass.again {
                        self.notify_self(0);
                    }
                }
                Err(error) => self.stop(&error),
            }
        }
        self.device.settle();
    }

    /// The driver broke a ring: stand still, and say so (section 2.1.2).
    fn stop(&mut self, error: &RingError) {
        tracing::trace!(device = D::ID, %error, "virtio device needs a reset");
        self.counters.broken.increment();
        self.status = DeviceStatus::NeedsReset;
        self.config_changed = true;
        self.interrupt();
    }

    fn interrupt(&self) {
        match self.irq.trigger() {
            Ok(()) => self.counters.interrupts.increment(),
            Err(_) => self.counters.interrupt_errors.increment(),
        }
    }

    /// Has the event loop run a pass.
    fn notify_self(&self, queue: usize) {
        if let Some(event) = self.notify.get(queue) {
            // It can only fail when the counter is full, and then it is readable as well.
            let _ = event.write(1);
        }
    }

    fn reset(&mut self) {
        self.features.reset();
        self.status = DeviceStatus::Reset;
        self.queue_sel = 0;
        self.registers.fill(QueueRegisters::default());
        self.rings.fill_with(|| None);
        self.config_changed = false;
    }

    fn selected(&self) -> usize {
        usize::try_from(self.queue_sel).unwrap_or(usize::MAX)
    }

    fn register(&self, register: u32) -> u32 {
        match register {
            reg::MAGIC_VALUE => reg::MAGIC,
            reg::VERSION => reg::VERSION_2,
            reg::DEVICE_ID => D::ID,
            reg::VENDOR_ID => reg::VENDOR,
            reg::DEVICE_FEATURES => self.features.offered_word(),
            reg::QUEUE_NUM_MAX => self
                .device
                .queue_sizes()
                .get(self.selected())
                .copied()
                .unwrap_or(0)
                .into(),
            reg::QUEUE_READY => self
                .rings
                .get(self.selected())
                .is_some_and(Option::is_some)
                .into(),
            // The used-buffer bit is always set: see docs/guest-abi.md.
            reg::INTERRUPT_STATUS if self.config_changed => reg::INT_VRING | reg::INT_CONFIG,
            reg::INTERRUPT_STATUS => reg::INT_VRING,
            reg::STATUS => self.status.bits(),
            register if reg::SHM.contains(&register) => u32::MAX,
            // The configuration never changes, so its generation does not either.
            reg::CONFIG_GENERATION => 0,
            _ => 0,
        }
    }

    fn write_register(&mut self, register: u32, value: u32) {
        let negotiating = self.status == DeviceStatus::Driver;
        let setting_up = self.status == DeviceStatus::FeaturesOk;
        match register {
            reg::DEVICE_FEATURES_SEL => self.features.offered_page = value,
            reg::DRIVER_FEATURES_SEL => self.features.acked_page = value,
            reg::DRIVER_FEATURES if negotiating => self.features.ack_word(value),
            reg::QUEUE_SEL => self.queue_sel = value,
            reg::QUEUE_READY => match value {
                0 => self.drop_queue(),
                1 if setting_up => self.set_up_queue(),
                _ => {}
            },
            reg::QUEUE_NOTIFY => self.notify_self(usize::try_from(value).unwrap_or(usize::MAX)),
            reg::INTERRUPT_ACK => self.config_changed &= value & reg::INT_CONFIG == 0,
            reg::STATUS => self.write_status(value),
            register if setting_up => {
                let selected = self.selected();
                if let (Some(registers), Some(None)) =
                    (self.registers.get_mut(selected), self.rings.get(selected))
                {
                    registers.write(register, value);
                }
            }
            _ => {}
        }
    }

    fn write_status(&mut self, bits: u32) {
        match self.status.requested(bits) {
            Some(DeviceStatus::Reset) => self.reset(),
            Some(DeviceStatus::FeaturesOk) if !self.features.acceptable() => {
                self.counters.refused_features.increment();
            }
            Some(DeviceStatus::Running) => {
                self.status = DeviceStatus::Running;
                // The host side may have been waiting for this.
                self.notify_self(0);
            }
            Some(status) => self.status = status,
            None => {}
        }
    }

    fn set_up_queue(&mut self) {
        let selected = self.selected();
        let (Some(ring @ None), Some(registers), Some(max_size)) = (
            self.rings.get_mut(selected),
            self.registers.get(selected),
            self.device.queue_sizes().get(selected),
        ) else {
            return;
        };
        let event_idx = self.features.has(VIRTIO_RING_F_EVENT_IDX);
        match Ring::new(&self.mem, *max_size, event_idx, &registers.state()) {
            Ok(set_up) => *ring = Some(set_up),
            Err(error) => {
                tracing::trace!(device = D::ID, queue = selected, %error, "virtqueue refused");
                self.counters.refused_queues.increment();
            }
        }
    }

    fn drop_queue(&mut self) {
        let selected = self.selected();
        if let Some(ring) = self.rings.get_mut(selected) {
            *ring = None;
        }
    }
}

impl<D: VirtioDevice> BusDevice for VirtioMmio<D> {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let config = u64::from(reg::CONFIG);
        if (config..WINDOW).contains(&offset) {
            let start = usize::try_from(offset - config).unwrap_or(usize::MAX);
            for (byte, value) in data.iter_mut().zip(self.device.config().iter().skip(start)) {
                *byte = *value;
            }
        } else if let (Ok(register), Ok(data)) = (u32::try_from(offset), <&mut [u8; 4]>::try_from(data)) {
            *data = self.register(register).to_le_bytes();
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        if let (Ok(register @ 0..reg::CONFIG), Ok(data)) = (u32::try_from(offset), <[u8; 4]>::try_from(data))
        {
            self.write_register(register, u32::from_le_bytes(data));
        }
    }
}

impl<D: fmt::Debug> fmt::Debug for VirtioMmio<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtioMmio")
            .field("device", &self.device)
            .field("status", &self.status)
            .field("features", &self.features)
            .field("rings", &self.rings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
