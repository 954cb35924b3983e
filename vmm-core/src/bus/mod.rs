//! Address ranges and the devices behind them: one bus for ports, one for memory-mapped I/O.

mod range;

pub use range::BusError;
pub(crate) use range::{Bus, BusDevice, SharedDevice};
