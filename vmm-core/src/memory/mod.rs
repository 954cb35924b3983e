//! Guest memory: where RAM and devices are, the reservation behind it, and images mapped over it.

mod image;
pub(crate) mod layout;
#[expect(unsafe_code, reason = "maps files over the reservation and populates pages")]
mod ram;
pub(crate) mod rom;
#[expect(unsafe_code, reason = "hands host memory to KVM")]
mod slots;

pub use image::{ImageRegion, MemoryImage};
pub(crate) use ram::GuestRam;
pub use ram::{FillError, MapImageError, ReserveError};
pub use rom::RomError;
pub use slots::SlotError;
pub(crate) use slots::{register, register_rom};
