//! A VM's network device with its link, as the rest of the VM handles it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvm_ioctls::{IoEventAddress, NoDatamatch, VmFd};
use serde::{Deserialize, Serialize};

use crate::bus::SharedDevice;
use crate::event_loop::SharedSubscriber;
use crate::irq::IrqLine;
use crate::lifecycle::Lifecycle;
use crate::memory::GuestRam;
use crate::virtio::{
    AttachError, DetachedStreams, DeviceCounts, Net, NetConfigError, NetDevice, RestoreError, TransportState,
    UserNet, UserNetConfig, UserNetError, UserNetHandle, UserNetState,
};

/// The device and the host's handle on its link.
#[derive(Debug, Clone)]
pub(crate) struct NetPort {
    device: Arc<Mutex<NetDevice<UserNet>>>,
    handle: UserNetHandle,
}

/// What is saved of both.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NetState {
    transport: TransportState,
    link: UserNetState,
}

/// The network device could not be made, saved or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetPortError {
    /// The link's configuration cannot be used.
    #[error(transparent)]
    Link(#[from] UserNetError),
    /// The device's configuration cannot be used.
    #[error(transparent)]
    Device(#[from] NetConfigError),
    /// The kernel refused a descriptor or a doorbell.
    #[error("set up the network device: {step}")]
    Step {
        /// Which step.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The device's saved state cannot be.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The link's saved state cannot be.
    #[error(transparent)]
    Attach(#[from] AttachError),
}

impl NetPort {
    pub(crate) fn create(config: &UserNetConfig, ram: &GuestRam, irq: IrqLine) -> Result<Self, NetPortError> {
        let link = UserNet::new(config.clone())?;
        let handle = link.handle();
        let net = Net::new(&config.net, link)?;
        let device = NetDevice::new(net, ram.shared(), irq).map_err(|source| NetPortError::Step {
            step: "create eventfds",
            source,
        })?;
        Ok(Self {
            device: Arc::new(Mutex::new(device)),
            handle,
        })
    }

    /// Makes notifications and acknowledgements ioeventfds.
    pub(crate) fn register_doorbells(&self, vm: &VmFd, base: u64) -> Result<(), NetPortError> {
        for doorbell in self.device().ioeventfds() {
            let address = IoEventAddress::Mmio(base + doorbell.offset);
            let registered = match doorbell.datamatch {
                Some(value) => vm.register_ioevent(doorbell.fd, &address, value),
                None => vm.register_ioevent(doorbell.fd, &address, NoDatamatch),
            };
            registered.map_err(|errno| NetPortError::Step {
                step: "KVM_IOEVENTFD",
                source: errno.into(),
            })?;
        }
        Ok(())
    }

    pub(crate) fn bus_device(&self) -> SharedDevice {
        Arc::clone(&self.device) as SharedDevice
    }

    pub(crate) fn subscriber(&self) -> SharedSubscriber {
        Arc::clone(&self.device) as SharedSubscriber
    }

    pub(crate) fn counts(&self) -> DeviceCounts {
        self.device().counts()
    }

    pub(crate) const fn handle(&self) -> &UserNetHandle {
        &self.handle
    }

    /// Nothing under way in either direction. The VM must be paused.
    pub(crate) fn is_quiet(&self) -> bool {
        self.device().device().backend().is_quiet()
    }

    /// What is to be saved. The VM must be paused.
    pub(crate) fn state(&self) -> NetState {
        let device = self.device();
        NetState {
            transport: device.state(),
            link: device.device().backend().state(),
        }
    }

    /// What is to be saved, and the open streams; the link is empty afterwards. The VM must be paused.
    pub(crate) fn detach(&self) -> (NetState, DetachedStreams) {
        let mut device = self.device();
        let transport = device.state();
        let (link, streams) = device.device_mut().backend_mut().detach();
        (NetState { transport, link }, streams)
    }

    /// Becomes the saved device. Guest memory must be mapped; the guest must not run yet.
    pub(crate) fn restore(&self, state: &NetState, streams: DetachedStreams) -> Result<(), NetPortError> {
        let mut device = self.device();
        device.restore(&state.transport)?;
        device
            .device_mut()
            .backend_mut()
            .attach(state.link.clone(), streams)?;
        device.kick();
        Ok(())
    }

    /// Ends all streams when the VM stops, on the thread that noticed, so that who waits for a dead guest hears of it. What
    /// the guest has sent until then is not lost to those who read late.
    pub(crate) fn close_on_stop(&self, lifecycle: &Lifecycle) {
        // Handles keep the lifecycle beyond the VM's end; they must not keep the device and guest memory as well.
        let device = Arc::downgrade(&self.device);
        lifecycle.on_stop(Box::new(move |_| {
            let Some(device) = device.upgrade() else { return };
            match device.lock() {
                Ok(mut device) => {
                    // What the guest sent last is still for its peers.
                    device.kick();
                    device.device_mut().backend_mut().end();
                }
                // The device is what has failed: it is not asked to do anything more.
                Err(failed) => drop(failed.into_inner().device_mut().backend_mut().detach()),
            }
        }));
    }

    fn device(&self) -> MutexGuard<'_, NetDevice<UserNet>> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
