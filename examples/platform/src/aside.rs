//! Files that are of no use are renamed, not deleted: somebody may want to look at them.

use std::path::{Path, PathBuf};

use tracing::warn;

/// Files that are put aside of each kind; more would fill the disk with what nobody looks at.
pub(crate) const MOST_ASIDE: u32 = 16;

/// Puts a file aside that is of no use here, but may be elsewhere. When too many are aside already it replaces the last of them.
pub(crate) fn rename_aside(path: &Path, why: &str) {
    let aside = free_name(path).unwrap_or_else(|| name(path, MOST_ASIDE));
    match std::fs::rename(path, &aside) {
        Ok(()) => warn!(
            path = %path.display(),
            reason = why,
            aside = %aside.display(),
            "a saved state is of no use here and is put aside; going on without it"
        ),
        Err(error) => warn!(
            path = %path.display(),
            reason = why,
            %error,
            "a saved state is of no use here, and cannot be put aside: it will be replaced"
        ),
    }
}

/// The first free name for `path` put aside.
pub(crate) fn free_name(path: &Path) -> Option<PathBuf> {
    (1..=MOST_ASIDE)
        .map(|number| name(path, number))
        .find(|aside| !aside.exists())
}

fn name(path: &Path, number: u32) -> PathBuf {
    path.with_extension(format!("unused-{number}"))
}
