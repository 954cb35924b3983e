//! Loading: everything but the memory is read and verified, the memory is mapped in place.

mod error;
mod open;
mod verify;

pub use error::LoadError;
pub use open::Snapshot;
