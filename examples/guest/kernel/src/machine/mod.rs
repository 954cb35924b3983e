//! The hardware: the only code besides the network driver's buffers that touches it.

mod apic;
mod boot_timer;
mod clock;
mod mmio;
mod physical;
mod port;
mod ring0;

pub(crate) use apic::{Apic, Line};
pub(crate) use boot_timer::{BootTimer, Phase};
pub(crate) use clock::{Clock, Source, tsc};
pub(crate) use mmio::Registers;
pub(crate) use physical::{Identity, image_end};
pub(crate) use port::{print, stop};
pub(crate) use ring0::{crash, idle, take_pending};
