//! Taking turns: floor, library, floor, library, so that a disturbance of the machine meets both.

use std::time::Duration;

use hdrhistogram::Histogram;
use kvm_ioctls::Kvm;

use crate::floor::{self, Saved, WarmShell};
use crate::{Pieces, Subject, library};

/// What takes longer is recorded as this: a minute.
const LONGEST_NS: u64 = 60_000_000_000;

/// How often each is measured.
#[derive(Debug, Clone, Copy)]
pub struct Rounds {
    /// Restores into a VM made ahead.
    pub warm: u32,
    /// Restores into a new VM.
    pub cold: u32,
    /// Rounds of each before, that are not counted.
    pub warm_up: u32,
}

/// Durations of one kind of restore, in nanoseconds.
#[derive(Debug)]
pub struct Spread {
    /// From the call to the guest's first action.
    pub total: Histogram<u64>,
    /// See [`Pieces::load`].
    pub load: Histogram<u64>,
    /// See [`Pieces::restore`].
    pub restore: Histogram<u64>,
    /// See [`Pieces::run`].
    pub run: Histogram<u64>,
}

impl Spread {
    fn new() -> anyhow::Result<Self> {
        let histogram = Histogram::new_with_max(LONGEST_NS, 3)?;
        Ok(Self {
            total: histogram.clone(),
            load: histogram.clone(),
            restore: histogram.clone(),
            run: histogram,
        })
    }

    fn record(&mut self, pieces: Pieces) {
        for (histogram, took) in [
            (&mut self.total, pieces.total()),
            (&mut self.load, pieces.load),
            (&mut self.restore, pieces.restore),
            (&mut self.run, pieces.run),
        ] {
            histogram.saturating_record(nanoseconds(took));
        }
    }
}

fn nanoseconds(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}

/// What was measured.
#[derive(Debug)]
pub struct Samples {
    /// Into a VM made ahead, system calls only.
    pub floor: Spread,
    /// Into a VM made ahead, `vmm-core`, mapped like the floor.
    pub library: Spread,
    /// Into a VM made ahead whose pages were touched ahead, `vmm-core`, copied.
    pub filled: Spread,
    /// Into a new VM, system calls only.
    pub cold_floor: Spread,
    /// Into a new VM, `vmm-core`.
    pub cold_library: Spread,
}

/// Measures; `progress` is told after each round that counts. What a round has used is destroyed before the next.
///
/// # Errors
/// A restore failed: measuring the others would compare different things.
pub fn measure(subject: &Subject, rounds: Rounds, mut progress: impl FnMut()) -> anyhow::Result<Samples> {
    let saved = Saved::of(subject)?;
    let kvm = Kvm::new()?;
    let mut samples = Samples {
        floor: Spread::new()?,
        library: Spread::new()?,
        filled: Spread::new()?,
        cold_floor: Spread::new()?,
        cold_library: Spread::new()?,
    };
    for round in 0..rounds.warm_up.saturating_add(rounds.warm) {
        let floor = WarmShell::new(&kvm, &saved)?.restore(&saved)?;
        let library = library::adopt(subject, library::shell(subject)?)?;
        let filled = library::fill(subject, library::touched_shell(subject)?)?;
        if round >= rounds.warm_up {
            samples.floor.record(floor);
            samples.library.record(library);
            samples.filled.record(filled);
            progress();
        }
    }
    for round in 0..rounds.warm_up.saturating_add(rounds.cold) {
        let floor = floor::restore(&kvm, &saved)?;
        let library = library::restore(subject)?;
        if round >= rounds.warm_up {
            samples.cold_floor.record(floor);
            samples.cold_library.record(library);
            progress();
        }
    }
    Ok(samples)
}
