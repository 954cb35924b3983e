//! The generation page: who this clone is and what time it is (`docs/guest-abi.md`).

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::Timeline;

/// The 64 bytes that the VMM writes, at the start of a page of ours.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct GenerationPage {
    sequence: AtomicU32,
    restores: AtomicU32,
    id: [AtomicU64; 2],
    tsc_base: AtomicU64,
    monotonic_ns: AtomicU64,
    realtime_ns: AtomicU64,
    tsc_mult: AtomicU32,
    tsc_shift: AtomicU32,
    reserved: AtomicU64,
}

/// One consistent reading of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// Restores since boot.
    pub restores: u32,
    /// The generation id; as written, so its bytes are `to_le_bytes` of each word.
    pub id: [u64; 2],
    /// The clock.
    pub timeline: Timeline,
}

impl GenerationPage {
    /// A page that nobody has written.
    pub const fn new() -> Self {
        Self {
            sequence: AtomicU32::new(0),
            restores: AtomicU32::new(0),
            id: [const { AtomicU64::new(0) }; 2],
            tsc_base: AtomicU64::new(0),
            monotonic_ns: AtomicU64::new(0),
            realtime_ns: AtomicU64::new(0),
            tsc_mult: AtomicU32::new(0),
            tsc_shift: AtomicU32::new(0),
            reserved: AtomicU64::new(0),
        }
    }

    /// The number of restores: one load, to learn whether [`read`](Self::read) is due.
    pub fn restores(&self) -> u32 {
        self.restores.load(Ordering::Acquire)
    }

    /// Reads the page; `None` if it kept changing, which only a broken VMM does.
    pub fn read(&self) -> Option<Generation> {
        const TRIES: u32 = 1_000;
        for _ in 0..TRIES {
            let before = self.sequence.load(Ordering::Acquire);
            let generation = Generation {
                restores: self.restores.load(Ordering::Relaxed),
                id: [
                    self.id[0].load(Ordering::Relaxed),
                    self.id[1].load(Ordering::Relaxed),
                ],
                timeline: Timeline {
                    tsc_base: self.tsc_base.load(Ordering::Relaxed),
                    monotonic_ns: self.monotonic_ns.load(Ordering::Relaxed),
                    realtime_ns: self.realtime_ns.load(Ordering::Relaxed),
                    tsc_mult: self.tsc_mult.load(Ordering::Relaxed),
                    tsc_shift: self.tsc_shift.load(Ordering::Relaxed),
                },
            };
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before {
                return Some(generation);
            }
            core::hint::spin_loop();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn the_layout_is_that_of_the_abi() {
        assert_eq!(size_of::<GenerationPage>(), 64);
        assert_eq!(offset_of!(GenerationPage, restores), 4);
        assert_eq!(offset_of!(GenerationPage, id), 8);
        assert_eq!(offset_of!(GenerationPage, tsc_base), 24);
        assert_eq!(offset_of!(GenerationPage, monotonic_ns), 32);
        assert_eq!(offset_of!(GenerationPage, realtime_ns), 40);
        assert_eq!(offset_of!(GenerationPage, tsc_mult), 48);
        assert_eq!(offset_of!(GenerationPage, tsc_shift), 52);
    }

    #[test]
    fn a_page_under_write_is_not_read() {
        let page = GenerationPage::new();
        page.id[1].store(5, Ordering::Relaxed);
        assert_eq!(page.read().map(|generation| generation.id), Some([0, 5]));
        page.sequence.store(3, Ordering::Relaxed);
        assert_eq!(page.read(), None);
    }
}
