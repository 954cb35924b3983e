//! The device on the event loop.

use std::os::fd::AsRawFd;

use event_manager::{EventOps, Events, MutEventSubscriber};
use vmm_sys_util::epoll::EventSet;

use super::device::VirtioDevice;
use super::mmio::VirtioMmio;

/// Event data of the host side's descriptor; queues use their index.
const HOST_SIDE: u32 = u32::MAX;

impl<D: VirtioDevice> MutEventSubscriber for VirtioMmio<D> {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        let queues = (0..)
            .zip(&self.notify)
            .map(|(queue, event)| (event.as_raw_fd(), queue));
        let host_side = self.device.wake_fd().map(|fd| (fd, HOST_SIDE));
        for (fd, data) in queues.chain(host_side) {
            if let Err(error) = ops.add(Events::with_data_raw(fd, data, EventSet::IN)) {
                // There is no way to report it from here; the device is deaf on this descriptor.
                tracing::debug!(device = D::ID, fd, %error, "add virtio device to the event loop");
            }
        }
    }

    fn process(&mut self, events: Events, _ops: &mut EventOps<'_>) {
        if events.data() == HOST_SIDE {
            self.device.wake();
        } else if let Some(event) = usize::try_from(events.data())
            .ok()
            .and_then(|queue| self.notify.get(queue))
        {
            // Another pass may have emptied it; what is to be done is in the rings.
            let _ = event.read();
        }
        self.pass(false);
    }
}
