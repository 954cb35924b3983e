//! Virtqueues of a network device, in memory that the guest has filled with anything.

use std::os::fd::RawFd;
use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::Net;
use crate::fuzz::Input;
use crate::irq::IrqLine;
use crate::virtio::NetDevice;
use crate::virtio::net::backend::{Frame, NetBackend};
use crate::virtio::net::config::NetConfig;
use crate::virtio::status::DeviceStatus;

const MEMORY_BYTES: usize = 0x1_0000;
const QUEUE_SIZE: u16 = 8;
/// Passes over the rings; a device that wants more is one that never ends.
const PASSES: usize = 4;

/// Gives as many full frames as it was told to, and takes any that keep to the limit.
struct Backend {
    frame: Vec<u8>,
    left: u8,
}

impl NetBackend for Backend {
    fn wake_fd(&self) -> RawFd {
        -1
    }

    fn wake(&mut self) {}

    fn give(&mut self, frame: &[u8]) {
        assert!(!frame.is_empty() && frame.len() <= self.frame.len());
    }

    fn has_frames(&self) -> bool {
        self.left > 0
    }

    fn take(&mut self) -> Option<Frame<'_>> {
        self.left = self.left.checked_sub(1)?;
        let (header, body) = self.frame.split_at(54);
        Some(Frame {
            header,
            body: [body, &[]],
        })
    }

    fn settle(&mut self) {}
}

/// Any memory, any queue addresses and indices, as a saved device or a hostile driver has them. Each pass ends.
pub fn fuzz_queues(data: &[u8]) {
    let mut input = Input(data);
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), MEMORY_BYTES)]);
    let memory = Arc::new(memory.expect("64 KiB can be mapped"));
    let config = NetConfig::default().queue_size(QUEUE_SIZE);
    let backend = Backend {
        frame: vec![0xa5; config.max_frame_bytes()],
        left: input.byte(),
    };
    let net = Net::new(&config, backend).expect("the configuration is sound");
    let irq = Arc::new(EventFd::new(EFD_NONBLOCK).expect("a descriptor is free"));
    let device = NetDevice::new(net, Arc::clone(&memory), IrqLine::new(irq));
    let mut device = device.expect("descriptors are free");
    let mut state = device.state();
    state.status = DeviceStatus::Running;
    // VIRTIO_F_VERSION_1, with or without VIRTIO_RING_F_EVENT_IDX.
    state.driver_features = 1 << 32 | u64::from(input.byte() & 1) << 29;
    for (index, queue) in (0..).zip(&mut state.queues) {
        let sane = 0x3000 * u64::from(index == 1);
        let mut place = |at: u64| {
            if input.byte() & 3 == 0 {
                input.long()
            } else {
                sane + at
            }
        };
        (queue.desc_table, queue.avail_ring, queue.used_ring) = (place(0), place(0x1000), place(0x2000));
        (queue.size, queue.ready) = (QUEUE_SIZE >> (input.byte() & 3), true);
        (queue.next_avail, queue.next_used) = (input.word(), input.word());
    }
    while !input.is_empty() {
        let at = u64::from(input.word());
        // What does not fit into memory is nothing a guest can do.
        let _ = memory.write_slice(input.bytes(512), GuestAddress(at));
    }
    if device.restore(&state).is_ok() {
        for _ in 0..PASSES {
            device.kick();
        }
        // Whatever the guest did, its device can be saved, and its state taken up again or refused.
        let saved = device.state();
        let _ = device.restore(&saved);
    }
}
