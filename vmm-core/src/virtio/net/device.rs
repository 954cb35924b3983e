//! virtio-net (virtio 1.2, section 5.1): one receive ring, one transmit ring, no offloads.

use std::fmt;
use std::os::fd::RawFd;

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use virtio_bindings::virtio_net::{VIRTIO_NET_F_MAC, VIRTIO_NET_F_MTU};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use vm_memory::GuestMemoryMmap;

use super::backend::NetBackend;
use super::config::{NetConfig, NetConfigError};
use crate::virtio::counters::Counter;
use crate::virtio::device::{Pass, VirtioDevice};
use crate::virtio::features::mask;
use crate::virtio::ring::{Ring, RingError};

/// `struct virtio_net_hdr_v1`. Without offloads all of it is zero, except in received frames `num_buffers` = 1.
const HEADER: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

/// Rounds over the ring that one pass serves before it lets the event loop have a turn.
const ROUNDS: u16 = 2;

/// A network device with `B` as its host side; see [`NetDevice`](super::NetDevice) for the whole device.
pub(crate) struct Net<B> {
    backend: B,
    queue_sizes: [u16; 2],
    /// MAC, status, number of queue pairs and MTU, as section 5.1.4 lays them out.
    config_space: [u8; 12],
    max_frame_bytes: usize,
    /// One frame of the guest with its header, read once.
    scratch: Box<[u8]>,
    malformed: Counter,
}

impl<B: NetBackend> Net<B> {
    /// A device as `config` says, with `backend` as its host side.
    ///
    /// # Errors
    /// A value of `config` is out of its range.
    pub(crate) fn new(config: &NetConfig, backend: B) -> Result<Self, NetConfigError> {
        config.check()?;
        let mut config_space = [0; 12];
        config_space[..6].copy_from_slice(&config.mac.0);
        config_space[10..].copy_from_slice(&config.mtu.to_le_bytes());
        let max_frame_bytes = config.max_frame_bytes();
        Ok(Net {
            backend,
            queue_sizes: [config.queue_size; 2],
            config_space,
            max_frame_bytes,
            scratch: vec![0; HEADER.len() + max_frame_bytes].into_boxed_slice(),
            malformed: Counter::default(),
        })
    }

    /// The host side.
    pub(crate) fn backend(&self) -> &B {
        &self.backend
    }

    /// The host side, for saving and restoring what it keeps.
    pub(crate) fn backend_mut(&mut self) -> &mut B {
        &mut self.backend
    }

    /// Hands the guest's frames to the host side. Answers whether there may be more.
    fn transmit(&mut self, mem: &GuestMemoryMmap, ring: &mut Ring) -> Result<bool, RingError> {
        let mut budget = u32::from(ring.size()) * u32::from(ROUNDS);
        ring.disable_notification(mem)?;
        loop {
            while let Some(head) = ring.pop(mem)? {
                match ring
                    .read(mem, &mut self.scratch)
                    .and_then(|chain| chain.get(HEADER.len()..))
                {
                    Some(frame) if !frame.is_empty() => self.backend.give(frame),
                    _ => self.malformed.increment(),
                }
                ring.complete(mem, head, 0)?;
                budget = budget.saturating_sub(1);
                if budget == 0 {
                    return Ok(true);
                }
            }
            // What came while notifications were off has not been, and will not be, notified.
            if !ring.enable_notification(mem)? {
                return Ok(false);
            }
            ring.disable_notification(mem)?;
            budget = budget.saturating_sub(1);
            if budget == 0 {
                return Ok(true);
            }
        }
    }

    /// Fills the guest's buffers with the host side's frames. Answers whether both may go on.
    fn receive(&mut self, mem: &GuestMemoryMmap, ring: &mut Ring) -> Result<bool, RingError> {
        let mut budget = u32::from(ring.size()) * u32::from(ROUNDS);
        while self.backend.has_frames() {
            let Some(head) = ring.pop(mem)? else {
                // The host side holds its frames until the driver brings buffers.
                if ring.enable_notification(mem)? && budget > 0 {
                    budget -= 1;
                    continue;
                }
                return Ok(false);
            };
            let mut written = 0;
            if ring.takes(HEADER.len() + self.max_frame_bytes) {
                let Some(frame) = self.backend.take() else {
                    ring.unpop();
                    return Ok(false);
                };
                let [first, second] = frame.body;
                written = ring
                    .write(mem, &[&HEADER, frame.header, first, second])
                    .unwrap_or(0);
            }
            if written == 0 {
                self.malformed.increment();
            }
            ring.complete(mem, head, written)?;
            budget = budget.saturating_sub(1);
            if budget == 0 {
                return Ok(true);
            }
        }
        ring.disable_notification(mem)?;
        Ok(false)
    }
}

impl<B: NetBackend> VirtioDevice for Net<B> {
    const ID: u32 = VIRTIO_ID_NET;

    fn features(&self) -> u64 {
        [
            VIRTIO_F_VERSION_1,
            VIRTIO_RING_F_EVENT_IDX,
            VIRTIO_NET_F_MAC,
            VIRTIO_NET_F_MTU,
        ]
        .into_iter()
        .fold(0, |features, bit| features | mask(bit))
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn config(&self) -> &[u8] {
        &self.config_space
    }

    fn wake_fd(&self) -> Option<RawFd> {
        Some(self.backend.wake_fd())
    }

    fn wake(&mut self) {
        self.backend.wake();
    }

    fn run(&mut self, mem: &GuestMemoryMmap, rings: &mut [Option<Ring>]) -> Result<Pass, RingError> {
        let mut pass = Pass {
            interrupt: false,
            again: false,
        };
        let [receive, transmit] = rings else {
            return Ok(pass);
        };
        // In this order, so that what the guest sent is acknowledged in the same pass and with the same interrupt.
        if let Some(ring) = transmit {
            pass.again |= self.transmit(mem, ring)?;
            pass.interrupt |= ring.needs_interrupt(mem)?;
        }
        if let Some(ring) = receive {
            pass.again |= self.receive(mem, ring)?;
            pass.interrupt |= ring.needs_interrupt(mem)?;
        }
        Ok(pass)
    }

    fn malformed_chains(&self) -> u64 {
        self.malformed.value()
    }

    fn settle(&mut self) {
        self.backend.settle();
    }
}

impl<B: fmt::Debug> fmt::Debug for Net<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net")
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
#[cfg(any(test, feature = "fuzz"))]
pub use fuzz::fuzz_queues;
#[cfg(test)]
mod tests;
