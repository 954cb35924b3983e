use std::sync::Arc;

use proptest::prelude::*;
use vm_memory::Bytes;

use super::*;
use crate::virtio::device::Pass;
use crate::virtio::features::mask;
use crate::virtio::registers as reg;
use crate::virtio::state::QueueState;
use crate::virtio::testing::{
    DriverQueue, WRITE, memory, negotiate, read_register as read, set_up_queue, write_register as write,
};

const FEATURES: u64 = mask(32) | mask(29) | mask(5);

/// Gives every chain back with as many bytes "written" as it can read.
#[derive(Debug, Default)]
struct Fake {
    wakes: usize,
    settled: usize,
}

impl VirtioDevice for Fake {
    const ID: u32 = 42;

    fn features(&self) -> u64 {
        FEATURES
    }

    fn queue_sizes(&self) -> &[u16] {
        &[16, 8]
    }

    fn config(&self) -> &[u8] {
        &[1, 2, 3, 4, 5]
    }

    fn wake_fd(&self) -> Option<std::os::fd::RawFd> {
        None
    }

    fn wake(&mut self) {
        self.wakes += 1;
    }

    fn run(&mut self, mem: &GuestMemoryMmap, rings: &mut [Option<Ring>]) -> Result<Pass, RingError> {
        let mut interrupt = false;
        for ring in rings.iter_mut().flatten() {
            while let Some(head) = ring.pop(mem)? {
                ring.complete(mem, head, 7)?;
            }
            ring.enable_notification(mem)?;
            interrupt |= ring.needs_interrupt(mem)?;
        }
        Ok(Pass {
            interrupt,
            again: false,
        })
    }

    fn malformed_chains(&self) -> u64 {
        0
    }

    fn settle(&mut self) {
        self.settled += 1;
    }
}

struct Rig {
    mem: Arc<GuestMemoryMmap>,
    device: VirtioMmio<Fake>,
    irq: Arc<EventFd>,
}

fn rig() -> Rig {
    let mem = memory();
    let irq = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
    let device = VirtioMmio::new(Fake::default(), Arc::clone(&mem), IrqLine::new(Arc::clone(&irq))).unwrap();
    Rig { mem, device, irq }
}

fn fresh() -> Rig {
    rig()
}

fn running() -> (Rig, DriverQueue) {
    let mut rig = rig();
    negotiate(&mut rig.device, FEATURES);
    let queue = DriverQueue::new(&rig.mem, 0x1_0000, 8);
    set_up_queue(&mut rig.device, 0, &queue.state());
    write(&mut rig.device, reg::STATUS, 15);
    assert_eq!(
        rig.device.notify[0].read().unwrap(),
        1,
        "the first pass is asked for"
    );
    (rig, queue)
}

#[test]
fn a_driver_finds_the_device() {
    let mut device = rig().device;
    assert_eq!(read(&mut device, reg::MAGIC_VALUE).to_le_bytes(), *b"virt");
    assert_eq!(
        [reg::VERSION, reg::DEVICE_ID].map(|register| read(&mut device, register)),
        [2, 42]
    );
    let mut offered = 0;
    for page in [0, 1, 2] {
        write(&mut device, reg::DEVICE_FEATURES_SEL, page);
        offered |= u64::from(read(&mut device, reg::DEVICE_FEATURES))
            .checked_shl(32 * page)
            .unwrap_or(0);
    }
    assert_eq!(offered, FEATURES);
    let sizes = [0, 1, 2, u32::MAX].map(|queue| {
        write(&mut device, reg::QUEUE_SEL, queue);
        read(&mut device, reg::QUEUE_NUM_MAX)
    });
    assert_eq!(sizes, [16, 8, 0, 0]);
    assert_eq!(read(&mut device, reg::SHM_LEN_LOW), u32::MAX);
}

#[test]
fn config_space_is_read_in_any_width() {
    let mut device = rig().device;
    let mut bytes = [0xff; 8];
    device.read(0x100, &mut bytes);
    assert_eq!(bytes, [1, 2, 3, 4, 5, 0, 0, 0]);
    let mut byte = [0xff];
    device.read(0x103, &mut byte);
    assert_eq!(byte, [4]);
    device.read(0xfff, &mut byte);
    assert_eq!(byte, [0]);
}

#[test]
fn features_that_were_not_offered_are_refused() {
    let mut rig = rig();
    for features in [FEATURES | mask(0), FEATURES & !mask(32), 0] {
        negotiate(&mut rig.device, features);
        assert_eq!(read(&mut rig.device, reg::STATUS), 3);
    }
    assert_eq!(rig.device.counts().refused_features, 3);
    negotiate(&mut rig.device, mask(32));
    assert_eq!(read(&mut rig.device, reg::STATUS), 11);
}

#[test]
fn features_are_fixed_once_agreed() {
    let mut rig = rig();
    negotiate(&mut rig.device, FEATURES);
    write(&mut rig.device, reg::DRIVER_FEATURES_SEL, 0);
    write(&mut rig.device, reg::DRIVER_FEATURES, 0);
    assert_eq!(rig.device.features.acked, FEATURES);
}

#[test]
fn a_queue_must_be_sound_to_become_ready() {
    let mut rig = rig();
    negotiate(&mut rig.device, FEATURES);
    let good = DriverQueue::new(&rig.mem, 0x1_0000, 8).state();
    for bad in [
        QueueState { size: 32, ..good },
        QueueState {
            desc_table: 1 << 40,
            ..good
        },
        QueueState {
            used_ring: good.used_ring + 1,
            ..good
        },
    ] {
        set_up_queue(&mut rig.device, 0, &bad);
        assert_eq!(read(&mut rig.device, reg::QUEUE_READY), 0);
    }
    assert_eq!(rig.device.counts().refused_queues, 3);
    write(&mut rig.device, reg::QUEUE_NUM, 0x1_0008);
    write(&mut rig.device, reg::QUEUE_READY, 1);
    assert_eq!(
        read(&mut rig.device, reg::QUEUE_READY),
        0,
        "a size that only looks right when cut"
    );
    set_up_queue(&mut rig.device, 0, &good);
    assert_eq!(read(&mut rig.device, reg::QUEUE_READY), 1);
    set_up_queue(&mut rig.device, 0, &QueueState { size: 4, ..good });
    assert_eq!(
        rig.device.state().queues[0],
        good,
        "a ready queue does not change"
    );
    write(&mut rig.device, reg::QUEUE_READY, 0);
    assert_eq!(read(&mut rig.device, reg::QUEUE_READY), 0);
    set_up_queue(&mut rig.device, 9, &good);
    assert_eq!(read(&mut rig.device, reg::QUEUE_READY), 0);
}

#[test]
fn a_queue_is_not_set_up_before_features_are_agreed() {
    let mut rig = rig();
    let queue = DriverQueue::new(&rig.mem, 0x1_0000, 8);
    write(&mut rig.device, reg::STATUS, 3);
    set_up_queue(&mut rig.device, 0, &queue.state());
    assert_eq!(read(&mut rig.device, reg::QUEUE_READY), 0);
}

#[test]
fn a_notification_as_a_plain_write_works_like_an_ioeventfd() {
    let (mut rig, _queue) = running();
    let registered: Vec<_> = rig
        .device
        .ioeventfds()
        .map(|event| (event.offset, event.datamatch))
        .collect();
    assert_eq!(registered, [(0x50, Some(0)), (0x50, Some(1)), (0x64, Some(1))]);
    write(&mut rig.device, reg::QUEUE_NOTIFY, 0);
    assert_eq!(rig.device.notify[0].read().unwrap(), 1);
    for nonsense in [2, u32::MAX] {
        write(&mut rig.device, reg::QUEUE_NOTIFY, nonsense);
    }
}

#[test]
fn a_pass_serves_the_rings_and_interrupts_once() {
    let (mut rig, mut queue) = running();
    for index in 0..3 {
        queue.offer_one(index, 0x8_0000, 16, WRITE);
    }
    rig.device.pass(false);
    assert_eq!(
        [(); 4].map(|()| queue.used()),
        [Some((0, 7)), Some((1, 7)), Some((2, 7)), None]
    );
    assert_eq!(rig.irq.read().unwrap(), 1);
    assert_eq!(rig.device.device().settled, 1);
    rig.device.pass(false);
    assert!(rig.irq.read().is_err(), "nothing new, no interrupt");
}

#[test]
fn the_used_buffer_bit_is_always_set() {
    let mut rig = rig();
    assert_eq!(read(&mut rig.device, reg::INTERRUPT_STATUS), 1);
    write(&mut rig.device, reg::INTERRUPT_ACK, 1);
    assert_eq!(read(&mut rig.device, reg::INTERRUPT_STATUS), 1);
}

#[test]
fn a_broken_queue_stops_the_device_until_it_is_reset() {
    let (mut rig, mut queue) = running();
    queue.set_available_index(100);
    rig.device.pass(false);
    assert_eq!(read(&mut rig.device, reg::STATUS), 0x4f);
    assert_eq!(read(&mut rig.device, reg::INTERRUPT_STATUS), 3);
    assert_eq!(rig.irq.read().unwrap(), 1);
    write(&mut rig.device, reg::INTERRUPT_ACK, 3);
    assert_eq!(read(&mut rig.device, reg::INTERRUPT_STATUS), 1);
    queue.set_available_index(0);
    queue.offer_one(0, 0x8_0000, 16, WRITE);
    rig.device.pass(false);
    rig.device.kick();
    assert_eq!(queue.used(), None);
    assert_eq!(rig.device.counts().broken, 1);
    write(&mut rig.device, reg::STATUS, 0);
    assert_eq!(read(&mut rig.device, reg::STATUS), 0);
    assert_eq!(rig.device.state(), fresh().device.state());
}

#[test]
fn a_restored_device_goes_on() {
    let (mut old, mut queue) = running();
    queue.offer_one(0, 0x8_0000, 16, WRITE);
    old.device.pass(false);
    let state = old.device.state();
    let bytes = postcard::to_stdvec(&state).unwrap();
    let state = postcard::from_bytes::<TransportState>(&bytes).unwrap();

    let irq = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
    let line = IrqLine::new(Arc::clone(&irq));
    let mut new = VirtioMmio::new(Fake::default(), Arc::clone(&old.mem), line).unwrap();
    new.restore(&state).unwrap();
    assert_eq!(new.state(), state);
    // The driver has not seen the chain that came back: its interrupt may be lost.
    new.kick();
    assert_eq!((irq.read().unwrap(), new.device().wakes), (1, 1));
    // A notification that was under way is lost as well.
    queue.set_used_event(1);
    queue.offer_one(1, 0x8_0000, 16, WRITE);
    new.kick();
    assert_eq!([(); 2].map(|()| queue.used()), [Some((0, 7)), Some((1, 7))]);
    assert_eq!(irq.read().unwrap(), 1);
    queue.set_used_event(2);
    new.kick();
    assert!(irq.read().is_err(), "the driver has seen everything");
}

#[test]
fn a_state_that_cannot_be_is_refused() {
    let (rig, _queue) = running();
    let good = rig.device.state();
    let mut device = fresh().device;
    let mut refused = |change: fn(&mut TransportState)| {
        let mut state = good.clone();
        change(&mut state);
        let error = device.restore(&state).unwrap_err();
        assert_eq!(device.state().status, DeviceStatus::Reset, "it stays as it was");
        error
    };
    assert!(matches!(
        refused(|s| s.device_id = 1),
        RestoreError::Device {
            expected: 42,
            found: 1
        }
    ));
    assert!(matches!(
        refused(|s| s.queues.truncate(1)),
        RestoreError::QueueCount {
            expected: 2,
            found: 1
        }
    ));
    assert!(matches!(
        refused(|s| s.driver_features |= 1),
        RestoreError::Features { .. }
    ));
    assert!(matches!(
        refused(|s| s.driver_features = 0),
        RestoreError::Features { .. }
    ));
    assert!(matches!(
        refused(|s| s.status = DeviceStatus::Driver),
        RestoreError::QueueTooEarly { queue: 0, .. }
    ));
    assert!(matches!(
        refused(|s| s.queues[0].size = 32),
        RestoreError::Queue { queue: 0, .. }
    ));
    assert!(matches!(
        refused(|s| s.queues[0].used_ring = 1 << 50),
        RestoreError::Queue { queue: 0, .. }
    ));
    device.restore(&good).unwrap();
}

proptest! {
    /// Register accesses of any kind leave a device that still answers and saves a state it accepts itself.
    #[test]
    fn random_register_accesses_do_no_harm(accesses: Vec<(bool, u16, u32, u8)>, bytes: Vec<u8>) {
        let mut rig = rig();
        rig.mem.write_slice(&bytes, vm_memory::GuestAddress(0)).unwrap();
        let statuses = [0, 1, 3, 11, 15, 0x80];
        for (is_read, offset, value, len) in accesses {
            let (offset, mut data) = (u64::from(offset & 0x1ff), value.to_le_bytes());
            let aligned = offset & !3;
            match (is_read, aligned) {
                (true, _) => rig.device.read(offset, data.get_mut(..usize::from(len % 5)).unwrap()),
                (false, 0x70) => write(&mut rig.device, reg::STATUS, statuses[usize::from(len) % statuses.len()]),
                (false, _) => rig.device.write(aligned, &(value >> (len % 32)).to_le_bytes()),
            }
            rig.device.pass(false);
        }
        prop_assert_eq!(read(&mut rig.device, reg::VERSION), 2);
        let state = rig.device.state();
        prop_assert!(fresh().device.restore(&state).is_ok());
    }
}
