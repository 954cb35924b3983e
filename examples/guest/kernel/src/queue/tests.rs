use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

const N: usize = 8;

fn leak() -> &'static Ring<N> {
    Box::leak(Box::new(Ring::new()))
}

/// The device's side of a ring.
struct Device {
    ring: &'static Ring<N>,
    seen: u16,
    done: u16,
    event: u16,
}

impl Device {
    fn new(ring: &'static Ring<N>) -> Self {
        Self {
            ring,
            seen: 0,
            done: 0,
            event: 0,
        }
    }

    fn next(&mut self) -> Option<u16> {
        if self.ring.available.index.load(Ordering::Acquire) == self.seen {
            return None;
        }
        let id = self.ring.available.ring[usize::from(self.seen) % N].load(Ordering::Relaxed);
        self.seen = self.seen.wrapping_add(1);
        Some(id)
    }

    /// Gives a buffer back; true if the driver wants an interrupt.
    fn finish(&mut self, id: u16, len: u32) -> bool {
        let element = &self.ring.used.ring[usize::from(self.done) % N];
        element.id.store(id.into(), Ordering::Relaxed);
        element.len.store(len, Ordering::Relaxed);
        let old = self.done;
        self.done = self.done.wrapping_add(1);
        self.ring.used.index.store(self.done, Ordering::Release);
        crosses(
            self.ring.available.used_event.load(Ordering::Relaxed),
            old,
            self.done,
        )
    }

    /// Asks to be notified of the next buffer.
    fn wait(&mut self) {
        self.event = self.seen;
        self.ring
            .used
            .available_event
            .store(self.event, Ordering::Relaxed);
    }
}

#[test]
fn the_layout_is_that_of_the_specification() {
    let ring = leak();
    let [descriptors, available, used] = ring.addresses().map(|address| address.addr());
    assert_eq!(descriptors % 16, 0);
    assert_eq!(available - descriptors, 16 * N);
    assert!(used >= available + 6 + 2 * N && used.is_multiple_of(4));
    assert_eq!(core::mem::offset_of!(UsedRing<N>, available_event), 4 + 8 * N);
    assert_eq!(core::mem::offset_of!(Available<N>, used_event), 4 + 2 * N);
}

#[test]
fn only_a_waiting_device_is_notified() {
    let ring = leak();
    let (mut queue, mut device) = (Queue::new(ring), Device::new(ring));
    device.wait();
    queue.offer(0);
    assert!(queue.publish());
    queue.offer(1);
    assert!(!queue.publish(), "the device has not asked again");
    assert_eq!(
        (device.next(), device.next(), device.next()),
        (Some(0), Some(1), None)
    );
    device.wait();
    assert!(!queue.publish(), "nothing is new");
    queue.offer(2);
    assert!(queue.publish());
}

#[test]
fn only_an_armed_driver_is_interrupted() {
    let ring = leak();
    let (mut queue, mut device) = (Queue::new(ring), Device::new(ring));
    assert!(!queue.arm());
    assert!(device.finish(3, 7));
    assert!(!device.finish(4, 0), "armed for one buffer only");
    assert_eq!(queue.take(), Some(Used { id: 3, len: 7 }));
    assert!(queue.arm(), "one is waiting");
    queue.disarm();
    assert!(!device.finish(5, 0));
}

#[test]
fn an_id_that_does_not_exist_is_brought_into_range() {
    let ring = leak();
    let (mut queue, mut device) = (Queue::new(ring), Device::new(ring));
    device.finish(u16::MAX, 1);
    assert_eq!(queue.take().map(|used| used.id), Some(7));
}

proptest! {
    /// Whatever the order of steps and however often indices wrap, buffers come back in the order they were
    /// finished, and neither side sleeps while the other has work for it.
    #[test]
    fn buffers_go_round_and_nobody_is_left_waiting(steps in proptest::collection::vec(0_u8..5, 0..400), start: u16) {
        let ring = leak();
        let mut queue = Queue { ring, offered: start, published: start, taken: start };
        let mut device = Device { ring, seen: start, done: start, event: start };
        ring.available.index.store(start, Ordering::Relaxed);
        ring.used.index.store(start, Ordering::Relaxed);
        device.wait();
        let mut free: VecDeque<u16> = (0..8).collect();
        let (mut held, mut finished) = (VecDeque::new(), VecDeque::new());
        let mut device_awake = false;
        for step in steps {
            match step {
                0 => if let Some(id) = free.pop_front() { queue.offer(id) },
                1 => device_awake |= queue.publish(),
                2 if device_awake => match device.next() {
                    Some(id) => held.push_back(id),
                    None => { device.wait(); device_awake = false; }
                },
                3 => if let Some(id) = held.pop_back() { device.finish(id, id.into()); finished.push_back(id); },
                _ => if let Some(used) = queue.take() {
                    prop_assert_eq!(Some(used.id), finished.pop_front());
                    prop_assert_eq!(used.len, u32::from(used.id));
                    free.push_back(used.id);
                },
            }
            let unseen = ring.available.index.load(Ordering::Relaxed) != device.seen;
            prop_assert!(device_awake || !unseen, "published buffers and a device that was not notified");
            prop_assert_eq!(queue.peek().is_some(), !finished.is_empty());
        }
    }
}
