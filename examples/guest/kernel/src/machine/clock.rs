//! Time, from the generation page or from a calibrated counter.

use guest_kernel::{CommandLine, Generation, GenerationPage, Timeline};

use super::{Registers, port};

/// The page that the VMM writes; it is the start of the hot page, so that it costs a wake no page of its own.
#[unsafe(link_section = ".hot.generation")]
static PAGE: GenerationPage = GenerationPage::new();

/// Where the time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The VMM's generation page: right after every restore.
    Generation,
    /// The counter, measured against the interval timer at boot.
    Pit,
    /// The counter, taken for 1 GHz: there was nothing to measure it with.
    Guess,
}

/// The clock.
#[derive(Debug)]
pub(crate) struct Clock {
    source: Source,
    generation: Generation,
    /// Time that passed between a snapshot and its restore, all in all.
    asleep_ns: u64,
    /// Monotonic time when the clock was last read for timers.
    last_ns: u64,
}

impl Clock {
    /// Registers the generation page if the command line names the device, or calibrates.
    #[cold]
    pub(crate) fn new(command_line: &CommandLine<'static>) -> Self {
        let device = command_line
            .windows("vmm.generation")
            .next()
            .and_then(Registers::new);
        let page = device.and_then(|device| register(&device));
        let (source, generation) = page.map_or_else(
            || {
                let (source, timeline) = calibrate();
                (
                    source,
                    Generation {
                        restores: 0,
                        id: [0; 2],
                        timeline,
                    },
                )
            },
            |generation| (Source::Generation, generation),
        );
        Self {
            source,
            generation,
            asleep_ns: 0,
            last_ns: 0,
        }
    }

    /// Where the time comes from.
    pub(crate) fn source(&self) -> Source {
        self.source
    }

    /// Who this clone is; zero without a generation device.
    pub(crate) fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Whether the VM has been restored since it was last asked; the clock is right again afterwards.
    pub(crate) fn resumed(&mut self) -> bool {
        if PAGE.restores() == self.generation.restores {
            return false;
        }
        let Some(generation) = PAGE.read() else {
            return false;
        };
        self.generation = generation;
        self.asleep_ns += self.monotonic_ns().saturating_sub(self.asleep_ns + self.last_ns);
        true
    }

    /// Nanoseconds since boot, time asleep included.
    pub(crate) fn monotonic_ns(&self) -> u64 {
        let known = &self.generation;
        let restored = if PAGE.restores() == known.restores {
            None
        } else {
            PAGE.read()
        };
        restored.as_ref().unwrap_or(known).timeline.monotonic_ns(tsc())
    }

    /// Nanoseconds since boot without the time asleep: for timers that must not all be due after a restore.
    pub(crate) fn awake_ns(&mut self) -> u64 {
        self.last_ns = self
            .monotonic_ns()
            .saturating_sub(self.asleep_ns)
            .max(self.last_ns);
        self.last_ns
    }
}

/// The time stamp counter.
pub(crate) fn tsc() -> u64 {
    // SAFETY: every x86-64 CPU has the counter, and CR4.TSD is clear, so that ring 3 may read it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

fn register(device: &Registers) -> Option<Generation> {
    const MAGIC: (usize, u32) = (0x00, 0x524e_4547);
    const VERSION: (usize, u32) = (0x04, 1);
    const ADDRESS_LOW: usize = 0x08;
    const ADDRESS_HIGH: usize = 0x0c;
    if device.read(MAGIC.0) != MAGIC.1 || device.read(VERSION.0) != VERSION.1 {
        return None;
    }
    let address = u32::try_from((&raw const PAGE).expose_provenance()).ok()?;
    device.write(ADDRESS_LOW, address);
    device.write(ADDRESS_HIGH, 0);
    PAGE.read().filter(|generation| generation.timeline.tsc_mult != 0)
}

/// Measures the counter against channel 0 of the 8254. Its interrupt is masked, its count is read.
fn calibrate() -> (Source, Timeline) {
    const HZ: u64 = 1_193_182;
    const TICKS: u16 = 11_932;
    const CONTROL: u16 = 0x43;
    const CHANNEL_0: u16 = 0x40;
    const COUNT_DOWN_ONCE: u8 = 0x30;
    const LATCH: u8 = 0x00;
    /// Reads that all find the same count: nothing counts.
    const MAX_READS: u32 = 100;
    let count = || {
        port::write(CONTROL, LATCH);
        u16::from_le_bytes([port::read(CHANNEL_0), port::read(CHANNEL_0)])
    };
    port::write(CONTROL, COUNT_DOWN_ONCE);
    for _ in 0..2 {
        port::write(CHANNEL_0, 0xff);
    }
    let (start_count, start) = (count(), tsc());
    let mut reads = 0;
    loop {
        let (passed, end) = (start_count.wrapping_sub(count()), tsc());
        if passed >= TICKS {
            let ns = u64::from(passed) * 1_000_000_000 / HZ;
            return (
                Source::Pit,
                Timeline::calibrated(end, end.saturating_sub(start), ns),
            );
        }
        reads += 1;
        if passed == 0 && reads > MAX_READS {
            return (Source::Guess, Timeline::calibrated(end, 1, 1));
        }
    }
}
