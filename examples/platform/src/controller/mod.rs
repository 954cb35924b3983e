//! The controller: the only reader of a clock. Feeds the scheduler what happens, and does what it decides.

mod admission;
mod alarm;
mod driver;
mod execute;
mod fall;
mod requests;
mod run;
mod service;
mod status;
#[cfg(test)]
mod tests;
mod turn;

pub use admission::{Admitted, ControllerError};
pub use driver::Controller;
pub use execute::{ClosedGate, ParkGate};
pub use service::ServiceSetup;
pub use status::{Activity, ServiceStatus};
