//! The real scheduler in a simulated world, in which things take time and go wrong.

mod agenda;
mod chaos;
mod config;
mod cores;
mod faults;
mod place;
mod run;
#[cfg(test)]
mod tests;
mod world;

pub use chaos::Chaos;
pub use config::LiveConfig;
pub use faults::Faults;
pub use run::{LiveCounts, run_live};
