//! The generation device: tells a guest that it is a new copy of itself, and what time it is (docs/guest-abi.md).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress};
use zerocopy::{Immutable, IntoBytes};

use crate::arch::x86_64::tsc::TscClock;
use crate::bus::BusDevice;
use crate::memory::{GuestRam, layout};

const MAGIC: u32 = 0x524e_4547;
const VERSION: u32 = 1;
const REG_MAGIC: u64 = 0x00;
const REG_VERSION: u64 = 0x04;
const REG_PAGE_LOW: u64 = 0x08;
const REG_PAGE_HIGH: u64 = 0x0c;

/// What makes this run of a guest different from every other run of the same snapshot: 128 random bits.
///
/// The guest mixes it into its random seeds. Two restores must never be given the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GenerationId(pub [u8; 16]);

impl GenerationId {
    /// A new one from the operating system's random source.
    ///
    /// # Errors
    /// The system has no random source (early boot, or a seccomp filter without `getrandom`).
    pub fn random() -> std::io::Result<Self> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(std::io::Error::other)?;
        Ok(Self(id))
    }
}

/// The page's first 64 bytes.
#[derive(Debug, Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
struct Page {
    sequence: u32,
    restores: u32,
    generation: [u8; 16],
    tsc_base: u64,
    monotonic_ns: u64,
    realtime_ns: u64,
    tsc_mult: u32,
    tsc_shift: u32,
    reserved: u64,
}

/// The device between two runs. Times let the guest's clock go on by the time it was asleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GenerationState {
    page: Option<u64>,
    sequence: u32,
    restores: u32,
    monotonic_ns: u64,
    realtime_ns: u64,
    /// The half of a page's address that was written and waits for the other.
    page_low: u32,
}

/// The device.
#[derive(Debug)]
pub(crate) struct Generation {
    ram: GuestRam,
    clock: TscClock,
    id: GenerationId,
    page: Option<GuestAddress>,
    page_low: u32,
    sequence: u32,
    restores: u32,
    /// Guest time and wall time at one moment.
    monotonic: Duration,
    realtime: Duration,
}

fn wall_clock() -> Duration {
    // A host whose clock is before 1970 gets guests of 1970.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn nanoseconds(duration: Duration) -> u64 {
    // 64 bits last until the year 2554.
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Generation {
    pub(crate) fn new(ram: GuestRam, clock: TscClock, id: GenerationId) -> Self {
        Self {
            ram,
            clock,
            id,
            page: None,
            page_low: 0,
            sequence: 0,
            restores: 0,
            monotonic: Duration::ZERO,
            realtime: wall_clock(),
        }
    }

    pub(crate) fn state(&self) -> GenerationState {
        let now = wall_clock();
        GenerationState {
            page: self.page.map(|gpa| gpa.0),
            sequence: self.sequence,
            restores: self.restores,
            monotonic_ns: nanoseconds(self.monotonic_at(now)),
            realtime_ns: nanoseconds(now),
            page_low: self.page_low,
        }
    }

    /// Becomes the saved device, one restore further on, and writes the guest's page. Guest memory must be mapped.
    pub(crate) fn restore(&mut self, state: &GenerationState, id: GenerationId) {
        self.page = state.page.map(GuestAddress);
        self.page_low = state.page_low;
        self.sequence = state.sequence;
        self.restores = state.restores.wrapping_add(1);
        self.monotonic = Duration::from_nanos(state.monotonic_ns);
        self.realtime = Duration::from_nanos(state.realtime_ns);
        self.id = id;
        self.refresh();
    }

    /// Whether the guest has given the device a page, and so wants to be told of restores.
    pub(crate) const fn is_registered(&self) -> bool {
        self.page.is_some()
    }

    /// Guest time at wall time `now`. A wall clock that was set back does not take the guest's time back.
    fn monotonic_at(&self, now: Duration) -> Duration {
        self.monotonic + now.saturating_sub(self.realtime)
    }

    /// Writes the page. The guest does not run, or waits for the register write that led here.
    fn refresh(&mut self) {
        let Some(gpa) = self.page else { return };
        let now = wall_clock();
        (self.monotonic, self.realtime) = (self.monotonic_at(now), now);
        self.sequence = self.sequence.wrapping_add(2) & !1;
        let page = Page {
            sequence: self.sequence,
            restores: self.restores,
            generation: self.id.0,
            tsc_base: self.clock.guest_now(),
            monotonic_ns: nanoseconds(self.monotonic),
            realtime_ns: nanoseconds(self.realtime),
            tsc_mult: self.clock.mult,
            tsc_shift: self.clock.shift,
            reserved: 0,
        };
        if self.ram.memory().write_slice(page.as_bytes(), gpa).is_err() {
            // The guest (or a damaged state) named an address without RAM: then it is not told.
            self.page = None;
        }
    }
}

impl BusDevice for Generation {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        let value = match offset {
            REG_MAGIC => MAGIC,
            REG_VERSION => VERSION,
            _ => return,
        };
        if data.len() == 4 {
            data.copy_from_slice(&value.to_le_bytes());
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let Ok(value) = data.try_into().map(u32::from_le_bytes) else {
            return;
        };
        match offset {
            REG_PAGE_LOW => self.page_low = value,
            REG_PAGE_HIGH => {
                let gpa = u64::from(value) << 32 | u64::from(self.page_low);
                self.page = gpa.is_multiple_of(layout::PAGE_SIZE).then_some(GuestAddress(gpa));
                self.refresh();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: TscClock = TscClock {
        offset: 0,
        mult: 1 << 31,
        shift: 32,
    };

    fn device() -> (GuestRam, Generation) {
        let ram = GuestRam::reserve(2 << 20).unwrap();
        let device = Generation::new(ram.clone(), CLOCK, GenerationId([1; 16]));
        (ram, device)
    }

    fn register(device: &mut Generation, gpa: u32) {
        device.write(REG_PAGE_LOW, &gpa.to_le_bytes());
        device.write(REG_PAGE_HIGH, &[0; 4]);
    }

    #[test]
    fn page_is_64_bytes_as_documented() {
        assert_eq!(size_of::<Page>(), 64);
        assert_eq!(std::mem::offset_of!(Page, monotonic_ns), 32);
        assert_eq!(std::mem::offset_of!(Page, tsc_mult), 48);
    }

    #[test]
    fn registering_fills_the_page_and_a_restore_changes_it() {
        let (ram, mut device) = device();
        register(&mut device, 0x3000);
        let read = |offset: u64| {
            ram.memory()
                .read_obj::<u32>(GuestAddress(0x3000 + offset))
                .unwrap()
        };
        assert_eq!((read(0), read(4), read(8)), (2, 0, 0x0101_0101));
        let state = device.state();
        device.restore(&state, GenerationId([2; 16]));
        assert_eq!((read(0), read(4), read(8)), (4, 1, 0x0202_0202));
    }

    #[test]
    fn a_restore_between_the_two_halves_of_an_address_loses_neither() {
        let (ram, mut device) = device();
        device.write(REG_PAGE_LOW, &0x5000_u32.to_le_bytes());
        let state = device.state();
        let mut restored = Generation::new(ram.clone(), CLOCK, GenerationId([1; 16]));
        restored.restore(&state, GenerationId([2; 16]));
        restored.write(REG_PAGE_HIGH, &[0; 4]);
        assert_eq!(
            ram.memory().read_obj::<u32>(GuestAddress(0x5008)).unwrap(),
            0x0202_0202
        );
        assert_eq!(ram.memory().read_obj::<u32>(GuestAddress(8)).unwrap(), 0);
    }

    #[test]
    fn guest_time_includes_time_asleep() {
        let (_ram, mut device) = device();
        let mut state = device.state();
        state.monotonic_ns = 5_000_000_000;
        state.realtime_ns -= 60_000_000_000;
        device.restore(&state, GenerationId([2; 16]));
        assert!(device.state().monotonic_ns >= 65_000_000_000);
    }

    #[test]
    fn a_page_outside_memory_is_forgotten() {
        let (_ram, mut device) = device();
        for gpa in [0x3001, 0xffff_f000] {
            register(&mut device, gpa);
            assert!(!device.is_registered(), "{gpa:#x}");
        }
    }
}
