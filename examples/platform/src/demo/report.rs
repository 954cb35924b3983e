//! What the demonstration has measured, for people and for programs.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::phases::{Durations, Phase};

/// What the demonstration has measured.
pub(super) struct Report {
    pub(super) wakes: u32,
    pub(super) first_byte: Durations,
    pub(super) phases: Vec<(Phase, Durations)>,
    pub(super) cold_boot: Durations,
    pub(super) asleep_bytes: u64,
    pub(super) memory_bytes: u64,
    pub(super) lost: u64,
    pub(super) count: u64,
    pub(super) count_ok: bool,
    pub(super) took: Duration,
    pub(super) load: Option<f64>,
}

fn micros(duration: Duration) -> f64 {
    // Tenths: more would be noise.
    (duration.as_secs_f64() * 1e7).round() / 10.0
}

impl Report {
    /// The object that `demo --json` prints.
    pub(super) fn json(&self) -> Value {
        let quantiles = |durations: &Durations| json!({ "p50": micros(durations.quantile(0.5)), "p99": micros(durations.quantile(0.99)) });
        let phases: serde_json::Map<String, Value> = self
            .phases
            .iter()
            .map(|(phase, durations)| (phase.name().to_owned(), quantiles(durations)))
            .collect();
        json!({
            "wakes": self.wakes,
            "first_byte_us": {
                "p50": micros(self.first_byte.quantile(0.5)),
                "p99": micros(self.first_byte.quantile(0.99)),
                "max": micros(self.first_byte.max()),
            },
            "phases_us": phases,
            "cold_boot_us": micros(self.cold_boot.quantile(0.5)),
            "asleep_bytes": self.asleep_bytes,
            "lost": self.lost,
            "count_ok": self.count_ok,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = self
            .load
            .map_or_else(String::new, |load| format!(", load average {load:.2}"));
        writeln!(f, "\nA wake, in microseconds ({} wakes{load}):\n", self.wakes)?;
        writeln!(f, "  {:<44} {:>9} {:>9} {:>9}", "phase", "p50", "p99", "max")?;
        for (phase, durations) in &self.phases {
            row(f, &format!("{:<15} {}", phase.name(), meaning(*phase)), durations)?;
        }
        row(
            f,
            "request to first byte, as the client sees it",
            &self.first_byte,
        )?;
        writeln!(f)?;
        row(f, "the same without a snapshot: cold boot", &self.cold_boot)?;

        let (wake, cold) = (self.first_byte.quantile(0.5), self.cold_boot.quantile(0.5));
        let slowest = self
            .phases
            .iter()
            .max_by_key(|(_, durations)| durations.quantile(0.5));
        writeln!(f)?;
        if let Some((phase, _)) = slowest {
            writeln!(f, "  Most of a wake is {}: {}.", phase.name(), advice(*phase))?;
        }
        if !wake.is_zero() {
            writeln!(
                f,
                "  Waking is {:.0} times faster than booting.",
                cold.as_secs_f64() / wake.as_secs_f64()
            )?;
        }
        writeln!(
            f,
            "  Asleep, the instance of {} MiB takes {} KiB of memory and no thread.",
            self.memory_bytes >> 20,
            self.asleep_bytes >> 10
        )?;
        let verdict = if self.count_ok {
            "and went on by one with each"
        } else {
            "WRONGLY"
        };
        writeln!(
            f,
            "  The guest's own counter stands at {} after {} sleeps, {verdict}.",
            self.count, self.wakes
        )?;
        writeln!(
            f,
            "  Lost requests: {}. All this took {:.1} s.",
            self.lost,
            self.took.as_secs_f64()
        )?;
        writeln!(f, "\nNext:\n  cargo run --release -p platform -- serve")?;
        writeln!(
            f,
            "  curl http://127.0.0.1:8080/count        # again and again, with pauses: it slept in between"
        )?;
        writeln!(
            f,
            "  curl 'http://127.0.0.1:8080/info'       # how the guest sees its boot, its restores, its clock"
        )
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, durations: &Durations) -> fmt::Result {
    let [p50, p99, max] = [durations.quantile(0.5), durations.quantile(0.99), durations.max()].map(micros);
    writeln!(f, "  {name:<44} {p50:>9.1} {p99:>9.1} {max:>9.1}")
}

const fn meaning(phase: Phase) -> &'static str {
    match phase {
        Phase::Park => "hold the connection",
        Phase::Place => "decide, take a shell",
        Phase::Load => "map or copy the memory",
        Phase::Restore => "set registers, run",
        Phase::FirstResponse => "the guest answers",
    }
}

const fn advice(phase: Phase) -> &'static str {
    match phase {
        Phase::Park => "the proxy was slow to ask; is the machine loaded?",
        Phase::Place => "shells ran out, or the scheduler waited; try more shells",
        Phase::Load => "mapping and populating the working set",
        Phase::Restore => "setting state; shells made from another snapshot cost more",
        Phase::FirstResponse => "page faults, interrupts and the guest's own work",
    }
}
