//! What was measured, for people and for programs.

use std::fmt;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::rounds::{Samples, Spread};

/// The samples and the circumstances.
#[derive(Debug)]
pub struct Report {
    samples: Samples,
    load: f64,
    cores: usize,
}

/// Microseconds, to a tenth: more would be noise.
fn micros(nanoseconds: u64) -> f64 {
    let tenths = u32::try_from(nanoseconds / 100).unwrap_or(u32::MAX);
    f64::from(tenths) / 10.0
}

fn min(histogram: &Histogram<u64>) -> f64 {
    micros(histogram.min())
}

fn p50(histogram: &Histogram<u64>) -> f64 {
    micros(histogram.value_at_quantile(0.5))
}

fn p99(histogram: &Histogram<u64>) -> f64 {
    micros(histogram.value_at_quantile(0.99))
}

/// One figure of the library over the same of the floor, to a hundredth.
fn ratio(of: fn(&Histogram<u64>) -> f64, library: &Spread, floor: &Spread) -> f64 {
    (of(&library.total) / of(&floor.total) * 100.0).round() / 100.0
}

/// The one-minute load average; 0 where the system does not tell.
fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|load| load.parse().ok())
        .unwrap_or_default()
}

impl Report {
    /// A report on `samples`, with the load and the cores of now.
    #[must_use]
    pub fn new(samples: Samples) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            samples,
            load: load_average(),
            cores,
        }
    }

    /// For programs. `cold_us` and `cold_floor_us` are medians, and so are the pieces.
    #[must_use]
    pub fn json(&self) -> Value {
        let Samples {
            floor,
            library,
            filled,
            cold_floor,
            cold_library,
        } = &self.samples;
        let spread = |Spread {
                          total,
                          load,
                          restore,
                          run,
                      }: &Spread| {
            json!({
                "min": min(total),
                "p50": p50(total),
                "p99": p99(total),
                "max": micros(total.max()),
                "pieces": { "load": p50(load), "restore": p50(restore), "run": p50(run) },
            })
        };
        let mut restore = spread(library);
        restore["copied"] = spread(filled);
        json!({
            "floor_us": spread(floor),
            "restore_us": restore,
            "ratio_p50": ratio(p50, library, floor),
            "cold_floor_us": p50(&cold_floor.total),
            "cold_us": p50(&cold_library.total),
            "cold_ratio_p50": ratio(p50, cold_library, cold_floor),
            "load": self.load,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Samples {
            floor,
            library,
            filled,
            cold_floor,
            cold_library,
        } = &self.samples;
        writeln!(
            f,
            "From the call to the guest's first action, in microseconds (pieces are medians):\n"
        )?;
        write!(f, "{:<32}{:>7}", "", "rounds")?;
        for column in ["min", "p50", "p99", "max", "load", "restore", "run"] {
            write!(f, "{column:>9}")?;
        }
        writeln!(f)?;
        for (
            name,
            Spread {
                total,
                load,
                restore,
                run,
            },
        ) in [
            ("into a VM made ahead: floor", floor),
            ("into a VM made ahead: mapped", library),
            ("into a VM made ahead: copied", filled),
            ("into a new VM: floor", cold_floor),
            ("into a new VM: vmm-core", cold_library),
        ] {
            write!(f, "{name:<32}{:>7}", total.len())?;
            let columns = [
                min(total),
                p50(total),
                p99(total),
                micros(total.max()),
                p50(load),
                p50(restore),
                p50(run),
            ];
            for column in columns {
                write!(f, "{column:>9.1}")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "\nvmm-core over its floor:")?;
        for (name, library, floor) in [
            ("into a VM made ahead: mapped", library, floor),
            ("into a VM made ahead: copied", filled, floor),
            ("into a new VM", cold_library, cold_floor),
        ] {
            let (median, least) = (ratio(p50, library, floor), ratio(min, library, floor));
            writeln!(f, "  {name:<30} p50 {median:.2}, min {least:.2}")?;
        }
        let (load, cores) = (self.load, self.cores);
        writeln!(
            f,
            "Load average {load:.2} on {cores} cores; when others keep the cores busy, trust the ratio of the minima."
        )
    }
}
