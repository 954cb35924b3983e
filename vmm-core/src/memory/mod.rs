//! Guest memory: where RAM and devices are, the reservation behind it, and images mapped over it.

mod image;
pub(crate) mod layout;
mod ram;
mod slots;

pub use image::{ImageRegion, MemoryImage};
pub use ram::{GuestRam, MapImageError, ReserveError};
pub use slots::SlotError;
pub(crate) use slots::register;
