//! The controller: the only reader of a clock. Feeds the scheduler what happens, and does what it decides.

mod alarm;
mod driver;
mod execute;
mod fall;
mod requests;
mod run;
mod status;
#[cfg(test)]
mod tests;

pub use driver::{Admitted, Controller, ControllerError, ServiceSetup};
pub use execute::{ClosedGate, ParkGate};
pub use status::{Activity, ServiceStatus};
