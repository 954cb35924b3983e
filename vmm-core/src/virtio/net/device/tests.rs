use std::collections::VecDeque;
use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::*;
use crate::irq::IrqLine;
use crate::virtio::net::backend::Frame;
use crate::virtio::registers as reg;
use crate::virtio::testing::{
    DriverQueue, NEXT, WRITE, memory, negotiate, read_register, set_up_queue, write_register,
};
use crate::virtio::{NetDevice, VirtioMmio};

const DATA: u64 = 0x8_0000;
/// A buffer that takes every frame.
const BUFFER: u32 = 12 + 1514;

/// Keeps what it is given, gives what it is told to.
#[derive(Default)]
struct Fake {
    given: Vec<Vec<u8>>,
    frames: VecDeque<Vec<u8>>,
    taken: Vec<u8>,
    settled: usize,
    /// Offers another chain for each one it is given: a driver faster than the device.
    endless: Option<DriverQueue>,
}

impl NetBackend for Fake {
    fn wake_fd(&self) -> RawFd {
        unreachable!("there is no event loop here")
    }

    fn wake(&mut self) {}

    fn give(&mut self, frame: &[u8]) {
        self.given.push(frame.to_vec());
        if let Some(driver) = &mut self.endless {
            driver.offer(0);
        }
    }

    fn has_frames(&self) -> bool {
        !self.frames.is_empty()
    }

    fn take(&mut self) -> Option<Frame<'_>> {
        self.taken = self.frames.pop_front()?;
        let (header, body) = self.taken.split_at(self.taken.len() / 2);
        Some(Frame {
            header,
            body: [body, &[]],
        })
    }

    fn settle(&mut self) {
        self.settled += 1;
    }
}

struct Rig {
    device: NetDevice<Fake>,
    mem: Arc<GuestMemoryMmap>,
    irq: Arc<EventFd>,
    receive: DriverQueue,
    transmit: DriverQueue,
}

fn rig() -> Rig {
    let mem = memory();
    let irq = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
    let net = Net::new(
        &NetConfig {
            queue_size: 8,
            ..NetConfig::default()
        },
        Fake::default(),
    )
    .unwrap();
    let mut device = VirtioMmio::new(net, Arc::clone(&mem), IrqLine::new(Arc::clone(&irq))).unwrap();
    let features = device.device().features();
    negotiate(&mut device, features);
    let (receive, transmit) = (
        DriverQueue::new(&mem, 0x1_0000, 8),
        DriverQueue::new(&mem, 0x2_0000, 8),
    );
    set_up_queue(&mut device, 0, &receive.state());
    set_up_queue(&mut device, 1, &transmit.state());
    write_register(&mut device, reg::STATUS, 15);
    Rig {
        device,
        mem,
        irq,
        receive,
        transmit,
    }
}

impl Rig {
    fn backend(&mut self) -> &mut Fake {
        self.device.device_mut().backend_mut()
    }

    fn interrupts(&self) -> u64 {
        self.irq.read().unwrap_or(0)
    }
}

#[test]
fn the_driver_reads_its_address_and_mtu() {
    let mut device = rig().device;
    let mut config = [0; 12];
    crate::bus::BusDevice::read(&mut device, 0x100, &mut config);
    assert_eq!(config, [0x52, 0x54, 0, 0x12, 0x34, 0x56, 0, 0, 0, 0, 0xdc, 5]);
}

#[test]
fn frames_reach_the_host_side_without_their_header() {
    let mut rig = rig();
    rig.mem.write_slice(&[9; 100], GuestAddress(DATA)).unwrap();
    rig.transmit.describe(0, DATA, 12, NEXT, 1);
    rig.transmit.describe(1, DATA + 12, 20, 0, 0);
    rig.transmit.offer(0);
    rig.transmit.offer_one(2, DATA, 12 + 30, 0);
    rig.device.pass(false);
    assert_eq!(rig.backend().given, [vec![9; 20], vec![9; 30]]);
    assert_eq!(
        [(); 3].map(|()| rig.transmit.used()),
        [Some((0, 0)), Some((2, 0)), None]
    );
    assert_eq!(rig.transmit.avail_event(), 2, "the next one is to be notified");
    assert_eq!(rig.backend().settled, 1);
}

#[test]
fn chains_that_are_no_frames_come_back_and_are_counted() {
    let mut rig = rig();
    rig.transmit.offer_one(0, DATA, 12, 0);
    rig.transmit.offer_one(1, DATA, BUFFER + 1, 0);
    rig.transmit.offer_one(2, DATA, 64, WRITE);
    rig.transmit.offer_one(3, 1 << 40, 64, 0);
    rig.transmit.describe(4, DATA, 30, NEXT, 4);
    rig.transmit.offer(4);
    rig.transmit.offer_one(5, DATA, BUFFER, 0);
    rig.device.pass(false);
    let back = [(); 7].map(|()| rig.transmit.used());
    assert_eq!(back[..6], [0, 1, 2, 3, 4, 5].map(|head| Some((head, 0))));
    assert_eq!(rig.device.device().malformed_chains(), 5);
    assert_eq!(rig.backend().given.len(), 1);
}

#[test]
fn frames_wait_until_the_guest_has_buffers() {
    let mut rig = rig();
    rig.backend().frames = VecDeque::from([vec![1; 60], vec![2; 1514]]);
    rig.device.pass(false);
    assert_eq!((rig.backend().frames.len(), rig.interrupts()), (2, 0));
    assert_eq!(rig.receive.avail_event(), 0, "the next buffer is to be notified");
    for index in 0..3 {
        rig.receive
            .offer_one(index, DATA + 0x1000 * u64::from(index), BUFFER, WRITE);
    }
    rig.device.pass(false);
    assert_eq!(
        [(); 3].map(|()| rig.receive.used()),
        [Some((0, 72)), Some((1, BUFFER)), None]
    );
    assert_eq!(rig.interrupts(), 1, "one for both frames");
    let mut frame = [0; 72];
    rig.mem.read_slice(&mut frame, GuestAddress(DATA)).unwrap();
    assert_eq!(frame[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(frame[12..], [1; 60]);
}

#[test]
fn a_buffer_too_small_for_a_frame_costs_no_frame() {
    let mut rig = rig();
    rig.backend().frames.push_back(vec![1; 60]);
    rig.receive.offer_one(0, DATA, 512, WRITE);
    rig.receive.offer_one(1, DATA, BUFFER, 0);
    rig.receive.offer_one(2, DATA, BUFFER, WRITE);
    rig.device.pass(false);
    assert_eq!(
        [(); 3].map(|()| rig.receive.used()),
        [Some((0, 0)), Some((1, 0)), Some((2, 72))]
    );
    assert_eq!(rig.device.device().malformed_chains(), 2);
}

#[test]
fn a_driver_that_never_stops_gets_its_turn_and_no_more() {
    let mut rig = rig();
    let mut driver = DriverQueue::new(&rig.mem, 0x2_0000, 8);
    driver.offer_one(0, DATA, 64, 0);
    rig.backend().endless = Some(driver);
    rig.device.pass(false);
    assert_eq!(rig.backend().given.len(), 16);
    assert!(
        rig.device.notify[0].read().is_ok(),
        "and the device comes back for the rest"
    );
}

#[test]
fn a_broken_ring_stops_the_device() {
    let mut rig = rig();
    rig.transmit.set_available_index(9);
    rig.device.pass(false);
    assert_eq!(read_register(&mut rig.device, reg::STATUS), 0x4f);
    rig.backend().frames.push_back(vec![1; 60]);
    rig.device.pass(false);
    assert_eq!(rig.backend().frames.len(), 1);
}

#[test]
fn bad_configurations_are_refused() {
    let good = NetConfig::default();
    for bad in [
        NetConfig {
            mac: crate::virtio::MacAddress([1, 0, 0, 0, 0, 0]),
            ..good
        },
        NetConfig { mtu: 575, ..good },
        NetConfig { mtu: 9001, ..good },
        NetConfig {
            queue_size: 100,
            ..good
        },
        NetConfig {
            queue_size: 2048,
            ..good
        },
        NetConfig {
            queue_size: 0,
            ..good
        },
    ] {
        assert!(Net::new(&bad, Fake::default()).is_err(), "{bad:?}");
    }
}
