//! Parked in RAM: memory and sections in a memfd that belongs to this process.

mod absorb;
mod compact;
mod error;
mod image;

pub use absorb::Absorbed;
pub use compact::CompactImage;
pub use error::{AbsorbError, Poisoned, RamError};
pub use image::RamImage;
