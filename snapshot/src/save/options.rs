use std::fmt;

use super::atomic::Overwrite;
use super::sweep::Progress;
use crate::fingerprint::Fingerprint;
use crate::id::SnapshotId;

/// How to save, and what to write into the header.
pub struct SaveOptions<'a> {
    pub(super) id: SnapshotId,
    pub(super) created_unix_ns: u64,
    pub(super) fingerprint: Fingerprint,
    pub(super) overwrite: Overwrite,
    pub(super) progress: Option<&'a mut dyn FnMut(Progress)>,
}

impl<'a> SaveOptions<'a> {
    /// A snapshot with this name and time of creation, in nanoseconds since the Unix epoch. It requires nothing
    /// of its host and does not overwrite.
    pub fn new(id: SnapshotId, created_unix_ns: u64) -> Self {
        Self {
            id,
            created_unix_ns,
            fingerprint: Fingerprint::default(),
            overwrite: Overwrite::default(),
            progress: None,
        }
    }

    /// Requires these pairs of the host that will restore it.
    #[must_use]
    pub fn fingerprint(self, fingerprint: Fingerprint) -> Self {
        Self { fingerprint, ..self }
    }

    /// Says what to do when the path is taken.
    #[must_use]
    pub fn overwrite(self, overwrite: Overwrite) -> Self {
        Self { overwrite, ..self }
    }

    /// Calls `progress` after each group of at most 2 MiB, on the saving thread.
    #[must_use]
    pub fn progress(self, progress: &'a mut dyn FnMut(Progress)) -> Self {
        Self {
            progress: Some(progress),
            ..self
        }
    }
}

impl fmt::Debug for SaveOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaveOptions")
            .field("id", &self.id)
            .field("created_unix_ns", &self.created_unix_ns)
            .field("fingerprint", &self.fingerprint)
            .field("overwrite", &self.overwrite)
            .finish_non_exhaustive()
    }
}
