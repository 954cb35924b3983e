//! Guest memory: where RAM and devices are, the reservation behind it, and images mapped over it.

mod image;
pub(crate) mod layout;
mod ram;
pub(crate) mod rom;
mod slots;

pub use image::{ImageRegion, MemoryImage};
pub use ram::{FillError, GuestRam, MapImageError, ReserveError};
pub use rom::RomError;
pub use slots::SlotError;
pub(crate) use slots::{register, register_rom};
