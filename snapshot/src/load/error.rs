use std::io;
use std::path::{Path, PathBuf};

use crate::format::FormatError;

/// Why a snapshot was not loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file could not be read.
    #[error("load snapshot {}: {what}", path.display())]
    Io {
        /// The step.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file was read, and is damaged, foreign or no snapshot at all.
    #[error("load snapshot {}: {error}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        error: FormatError,
    },
}

impl LoadError {
    pub(super) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            what,
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn format(path: &Path, error: FormatError) -> Self {
        Self::Format {
            path: path.to_owned(),
            error,
        }
    }
}
