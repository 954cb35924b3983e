use std::io;
use std::path::{Path, PathBuf};

use crate::format::FormatError;
use crate::memory::MemoryError;
use crate::ram::Poisoned;

/// Why a snapshot was not saved. Nothing is left at the path then but what was there before, unless only the
/// last step failed, flushing the directory: then the snapshot is whole but may not survive a power cut.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The path is taken, and [`Overwrite::Replace`](crate::Overwrite::Replace) was not asked for.
    #[error("save snapshot {}: it exists", path.display())]
    AlreadyExists {
        /// Where the snapshot was to be.
        path: PathBuf,
    },
    /// The file system refused a step.
    #[error("save snapshot {}: {what}", path.display())]
    Io {
        /// The step.
        what: &'static str,
        /// Where the snapshot was to be.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Memory or sections are more or other than a snapshot can hold.
    #[error("save snapshot {}: beyond the format", path.display())]
    Limit {
        /// Where the snapshot was to be.
        path: PathBuf,
        /// What a reader would say of it.
        source: FormatError,
    },
    /// The memory could not be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The image in RAM is not whole.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

impl SaveError {
    pub(super) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            what,
            path: path.to_owned(),
            source,
        }
    }
}
