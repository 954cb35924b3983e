//! Address ranges and the devices behind them: one bus for ports, one for memory-mapped I/O.

mod range;

pub use range::{Bus, BusDevice, BusError, SharedDevice};
