//! The directory of the snapshots, which one platform has at a time.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::causes::causes;
use crate::scratch::Scratch;
use crate::start_error::StartError;

/// Holds the directory of the snapshots for as long as the platform lives.
pub(crate) enum StateDir {
    /// The configured one, locked against another platform.
    Lasting { path: PathBuf, _lock: File },
    /// One of its own, removed in the end.
    Scratch(Scratch),
}

impl StateDir {
    /// Takes the `configured` directory, which is made if it is not there, or makes one for this run alone.
    pub(crate) fn open(configured: Option<&Path>) -> Result<Self, StartError> {
        let Some(dir) = configured else {
            let scratch = Scratch::new().map_err(|source| StartError::TemporaryDir {
                dir: std::env::temp_dir(),
                source,
            })?;
            return Ok(Self::Scratch(scratch));
        };
        let file = |what, path: &Path| {
            let path = path.to_owned();
            move |source| StartError::File { what, path, source }
        };
        std::fs::create_dir_all(dir).map_err(file("create state directory", dir))?;
        let path = dir.join("lock");
        let lock = File::create(&path).map_err(file("create", &path))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StartError::StateDir { dir: dir.to_owned() },
            TryLockError::Error(source) => file("lock", &path)(source),
        })?;
        // Those whose writers live are locked and stay. Leftovers only take room.
        if let Err(error) = snapshot::clean_stale(dir) {
            warn!(dir = %dir.display(), error = causes(&error), "half-written snapshots of an earlier run stay");
        }
        Ok(Self::Lasting {
            path: dir.to_owned(),
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Lasting { path, .. } => path,
            Self::Scratch(scratch) => scratch.path(),
        }
    }
}
