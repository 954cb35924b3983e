use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::virtio::testing::{DriverQueue, INDIRECT, NEXT, WRITE, memory};

const BASE: u64 = 0x1_0000;
const DATA: u64 = 0x8_0000;

fn ring(event_idx: bool) -> (Arc<GuestMemoryMmap>, DriverQueue, Ring) {
    let mem = memory();
    let driver = DriverQueue::new(&mem, BASE, 8);
    let ring = Ring::new(&mem, 8, event_idx, &driver.state()).unwrap();
    (mem, driver, ring)
}

fn read(ring: &Ring, mem: &GuestMemoryMmap, limit: usize) -> Option<Vec<u8>> {
    let mut buf = vec![0; limit];
    ring.read(mem, &mut buf).map(<[u8]>::to_vec)
}

#[test]
fn a_chain_is_read_in_order() {
    let (mem, mut driver, mut ring) = ring(false);
    mem.write_slice(b"hello, ", GuestAddress(DATA)).unwrap();
    mem.write_slice(b"world", GuestAddress(DATA + 0x1000)).unwrap();
    driver.describe(3, DATA, 7, NEXT, 5);
    driver.describe(5, DATA + 0x1000, 5, 0, 0);
    driver.offer(3);
    assert_eq!(ring.pop(&mem).unwrap(), Some(3));
    assert_eq!(read(&ring, &mem, 12).unwrap(), b"hello, world");
    assert_eq!(read(&ring, &mem, 11), None);
    assert_eq!(ring.write(&mem, &[b"x"]), None);
    ring.complete(&mem, 3, 0).unwrap();
    assert_eq!((driver.used(), driver.used()), (Some((3, 0)), None));
    assert_eq!(ring.pop(&mem).unwrap(), None);
}

#[test]
fn parts_are_written_across_descriptors() {
    let (mem, mut driver, mut ring) = ring(false);
    driver.describe(0, DATA, 3, NEXT | WRITE, 1);
    driver.describe(1, DATA + 0x1000, 0, NEXT | WRITE, 2);
    driver.describe(2, DATA + 0x2000, 9, WRITE, 0);
    driver.offer(0);
    ring.pop(&mem).unwrap();
    assert!(ring.takes(12) && !ring.takes(13));
    assert_eq!(read(&ring, &mem, 100), None);
    assert_eq!(ring.write(&mem, &[b"ab", b"", b"cdef", b"g"]), Some(7));
    let mut bytes = [[0; 4]; 2];
    mem.read_slice(&mut bytes[0], GuestAddress(DATA)).unwrap();
    mem.read_slice(&mut bytes[1], GuestAddress(DATA + 0x2000))
        .unwrap();
    assert_eq!(bytes, [*b"abc\0", *b"defg"]);
    assert_eq!(ring.write(&mem, &[&[0; 13]]), None);
}

#[test]
fn malformed_chains_are_empty() {
    type Make = fn(&DriverQueue);
    let cases: [(&str, Make); 6] = [
        ("a loop", |q| {
            q.describe(0, DATA, 4, NEXT, 1);
            q.describe(1, DATA, 4, NEXT, 0);
        }),
        ("a next outside of the table", |q| q.describe(0, DATA, 4, NEXT, 8)),
        ("readable behind writable", |q| {
            q.describe(0, DATA, 4, NEXT | WRITE, 1);
            q.describe(1, DATA, 4, 0, 0);
        }),
        ("an indirect table outside of memory", |q| {
            q.describe(0, 1 << 40, 32, INDIRECT, 0);
        }),
        ("an indirect table of an odd length", |q| {
            q.describe(0, DATA, 17, INDIRECT, 0);
        }),
        ("more than 32 descriptors", |q| {
            q.describe(0, DATA, 16 * 100, INDIRECT, 0);
            for i in 0..100u16 {
                let table = DriverQueue::new(&q.mem, DATA, 128);
                table.describe(i, DATA, 1, NEXT, (i + 1) % 100);
            }
        }),
    ];
    for (what, make) in cases {
        let (mem, mut driver, mut ring) = ring(false);
        make(&driver);
        driver.offer(0);
        assert_eq!(ring.pop(&mem).unwrap(), Some(0), "{what}");
        assert_eq!(read(&ring, &mem, 4096).as_deref(), Some(&[][..]), "{what}");
        assert!(!ring.takes(1), "{what}");
        ring.complete(&mem, 0, 0).unwrap();
    }
}

#[test]
fn descriptors_outside_of_memory_cannot_be_used() {
    for (gpa, len) in [(1 << 40, 4), ((1 << 20) - 2, 4), (u64::MAX - 1, 4), (0, u32::MAX)] {
        let (mem, mut driver, mut ring) = ring(false);
        driver.offer_one(0, gpa, len, 0);
        ring.pop(&mem).unwrap();
        assert_eq!(read(&ring, &mem, 64), None, "{gpa:#x}");
        driver.offer_one(1, gpa, len, WRITE);
        ring.pop(&mem).unwrap();
        if gpa > 0 {
            assert_eq!(ring.write(&mem, &[b"1234"]), None, "{gpa:#x}");
        }
    }
}

#[test]
fn a_ring_that_makes_no_sense_is_an_error() {
    let (mem, mut driver, mut one) = ring(false);
    driver.offer(8);
    assert!(matches!(one.pop(&mem), Err(RingError::Head { head: 8, size: 8 })));
    let (mem, driver, mut one) = ring(false);
    driver.set_available_index(9);
    assert!(matches!(one.pop(&mem), Err(RingError::Queue(_))));
}

#[test]
fn a_ring_must_fit_its_place() {
    let mem = memory();
    let good = DriverQueue::new(&mem, BASE, 8).state();
    let cases = [
        QueueState { size: 0, ..good },
        QueueState { size: 7, ..good },
        QueueState { size: 16, ..good },
        QueueState {
            desc_table: BASE + 8,
            ..good
        },
        QueueState {
            avail_ring: BASE + 1,
            ..good
        },
        QueueState {
            used_ring: BASE + 2,
            ..good
        },
        QueueState {
            desc_table: 0,
            ..good
        },
        QueueState {
            avail_ring: 0,
            ..good
        },
        QueueState {
            used_ring: (1 << 20) - 64,
            ..good
        },
        QueueState {
            desc_table: u64::MAX - 15,
            ..good
        },
    ];
    for state in cases {
        assert!(Ring::new(&mem, 8, true, &state).is_err(), "{state:?}");
    }
}

#[test]
fn a_popped_chain_can_be_put_back() {
    let (mem, mut driver, mut ring) = ring(true);
    driver.offer_one(4, DATA, 1, WRITE);
    assert_eq!(ring.pop(&mem).unwrap(), Some(4));
    ring.unpop();
    assert!(!ring.takes(1));
    assert_eq!(ring.pop(&mem).unwrap(), Some(4));
    assert!(ring.takes(1));
}

#[test]
fn with_event_idx_the_driver_is_interrupted_when_its_event_is_passed() {
    let (mem, mut driver, mut ring) = ring(true);
    for i in 0..4 {
        driver.offer_one(i, DATA, 1, WRITE);
    }
    driver.set_used_event(1);
    let mut wanted = Vec::new();
    while let Some(head) = ring.pop(&mem).unwrap() {
        ring.complete(&mem, head, 1).unwrap();
        wanted.push(ring.needs_interrupt(&mem).unwrap());
        assert!(!ring.needs_interrupt(&mem).unwrap(), "asked twice");
    }
    assert_eq!(wanted, [false, true, false, false]);
}

#[test]
fn with_event_idx_a_burst_causes_one_interrupt() {
    let (mem, mut driver, mut ring) = ring(true);
    for i in 0..4 {
        driver.offer_one(i, DATA, 1, WRITE);
        ring.pop(&mem).unwrap();
        ring.complete(&mem, i, 1).unwrap();
    }
    assert!(ring.needs_interrupt(&mem).unwrap());
}

#[test]
fn without_event_idx_flags_suppress_both_ways() {
    let (mem, mut driver, mut ring) = ring(false);
    for (flag, wanted) in [(1, false), (0, true)] {
        driver.set_no_interrupt(flag);
        driver.offer_one(0, DATA, 1, WRITE);
        ring.pop(&mem).unwrap();
        ring.complete(&mem, 0, 1).unwrap();
        assert_eq!(ring.needs_interrupt(&mem).unwrap(), wanted);
    }
    ring.disable_notification(&mem).unwrap();
    assert_eq!(driver.no_notify(), 1);
    assert!(!ring.enable_notification(&mem).unwrap());
    assert_eq!(driver.no_notify(), 0);
}

#[test]
fn a_chain_that_came_while_notifications_were_off_is_not_lost() {
    let (mem, mut driver, mut ring) = ring(true);
    driver.offer_one(0, DATA, 1, 0);
    ring.pop(&mem).unwrap();
    assert!(!ring.enable_notification(&mem).unwrap());
    assert_eq!(driver.avail_event(), 1);
    driver.offer_one(1, DATA, 1, 0);
    assert!(ring.enable_notification(&mem).unwrap());
}

#[test]
fn a_restored_ring_knows_whether_its_driver_may_wait() {
    let (mem, mut driver, mut ring) = ring(true);
    assert!(!ring.may_owe_interrupt(&mem).unwrap());
    driver.offer_one(0, DATA, 1, WRITE);
    ring.pop(&mem).unwrap();
    ring.complete(&mem, 0, 1).unwrap();
    let restored = Ring::new(&mem, 8, true, &ring.state()).unwrap();
    assert!(restored.may_owe_interrupt(&mem).unwrap());
    driver.set_used_event(1);
    assert!(!restored.may_owe_interrupt(&mem).unwrap());
}

proptest! {
    /// Whatever is in the rings and tables, a device loop over them ends and stays in its bounds.
    #[test]
    fn random_rings_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0x2100), idx: u16, event_idx: bool) {
        let mem = memory();
        mem.write_slice(&bytes, GuestAddress(BASE)).unwrap();
        let driver = DriverQueue::new(&mem, BASE, 8);
        driver.set_available_index(idx % 10);
        let mut ring = Ring::new(&mem, 8, event_idx, &driver.state()).unwrap();
        let mut chains = 0;
        while let Ok(Some(head)) = ring.pop(&mem) {
            chains += 1;
            let _ = read(&ring, &mem, 1526);
            let _ = ring.write(&mem, &[&[0; 100]]);
            if ring.complete(&mem, head, 0).is_err() {
                break;
            }
        }
        prop_assert!(chains <= 8);
        let _ = ring.needs_interrupt(&mem);
    }
}
