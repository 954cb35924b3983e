//! Saving: one pass over the memory that is there, into a file that appears whole or not at all.

mod atomic;
mod error;
mod full;
mod options;
mod sweep;
mod zero;

pub use atomic::{Overwrite, clean_stale};
pub use error::SaveError;
pub use full::{Saved, save};
pub(crate) use full::{check_limits, write_snapshot};
pub use options::SaveOptions;
pub use sweep::Progress;
pub(crate) use sweep::{each_chunk, sweep};
pub(crate) use zero::{Content, runs};
