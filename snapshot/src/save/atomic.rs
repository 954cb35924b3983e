//! A file that appears whole or not at all.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::error::SaveError;
use crate::id::SnapshotId;

const PREFIX: &str = ".snapshot-";
const SUFFIX: &str = ".tmp";

/// What to do when the path is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overwrite {
    /// Leave what is there, and report it.
    #[default]
    Refuse,
    /// Put the new snapshot in its place in one step. Mappings of the old one stay valid.
    Replace,
}

/// A snapshot being written, under a name of its own next to its final path.
///
/// It is locked while its writer lives, so that [`clean_stale`] can tell it from a leftover. Dropping it removes it.
#[derive(Debug)]
pub(super) struct TempFile {
    file: File,
    temp: PathBuf,
    path: PathBuf,
    dir: PathBuf,
    committed: bool,
}

impl TempFile {
    pub(super) fn create(path: &Path, id: SnapshotId) -> Result<Self, SaveError> {
        let fail = |what, source| SaveError::io(what, path, source);
        if path.file_name().is_none() {
            return Err(fail("find the file name", io::ErrorKind::InvalidInput.into()));
        }
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
            _ => PathBuf::from("."),
        };
        // Leftovers are only untidy: that they cannot be removed must not cost the snapshot.
        let _ = clean_stale(&dir);
        // Only savers with the same id, and cleaners that caught one before its lock, meet at a name.
        for attempt in 0..u16::MAX {
            let temp = dir.join(format!("{PREFIX}{id}-{attempt}{SUFFIX}"));
            let file = match OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temp)
            {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(fail("create the temporary file", error)),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => {
                    // As in `drop`: what cannot be removed is only untidy.
                    let _ = fs::remove_file(&temp);
                    return Err(fail("lock the temporary file", error));
                }
            }
            let links = file
                .metadata()
                .map_err(|error| fail("examine the temporary file", error))?
                .nlink();
            if links > 0 {
                return Ok(Self {
                    file,
                    temp,
                    path: path.to_owned(),
                    dir,
                    committed: false,
                });
            }
        }
        Err(fail(
            "find a free name for the temporary file",
            io::ErrorKind::AlreadyExists.into(),
        ))
    }

    pub(super) fn set_len(&self, what: &'static str, len_bytes: u64) -> Result<(), SaveError> {
        self.file
            .set_len(len_bytes)
            .map_err(|error| SaveError::io(what, &self.path, error))
    }

    pub(super) fn write_at(&self, what: &'static str, offset: u64, bytes: &[u8]) -> Result<(), SaveError> {
        self.file
            .write_all_at(bytes, offset)
            .map_err(|error| SaveError::io(what, &self.path, error))
    }

    /// Makes the file durable, then gives it its name, then makes the name durable.
    pub(super) fn commit(mut self, overwrite: Overwrite) -> Result<(), SaveError> {
        let fail = |what, error| SaveError::io(what, &self.path, error);
        self.file
            .set_permissions(Permissions::from_mode(0o400))
            .map_err(|error| fail("make the file read-only", error))?;
        self.file
            .sync_all()
            .map_err(|error| fail("flush the file", error))?;
        let flags = match overwrite {
            Overwrite::Refuse => RenameFlags::NOREPLACE,
            Overwrite::Replace => RenameFlags::empty(),
        };
        match renameat_with(CWD, &self.temp, CWD, &self.path, flags) {
            Ok(()) => self.committed = true,
            Err(Errno::EXIST) => {
                return Err(SaveError::AlreadyExists {
                    path: self.path.clone(),
                });
            }
            Err(errno) => return Err(fail("rename the file into place", errno.into())),
        }
        let dir =
            File::open(&self.dir).map_err(|error| SaveError::io("open the directory", &self.path, error))?;
        dir.sync_all()
            .map_err(|error| SaveError::io("flush the directory", &self.path, error))
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.committed {
            // What cannot be removed now is unlocked in a moment, and the next save removes it.
            let _ = fs::remove_file(&self.temp);
        }
    }
}

/// Removes what savers that died left in `dir`, and says how many files that were. Savers at work are left
/// alone, also those of other processes. Every save does this for its own directory.
///
/// # Errors
/// [`SaveError::Io`] if the directory cannot be listed, or a leftover not be removed.
pub fn clean_stale(dir: impl AsRef<Path>) -> Result<usize, SaveError> {
    let dir = dir.as_ref();
    let mut removed = 0;
    for entry in fs::read_dir(dir).map_err(|error| SaveError::io("list the directory", dir, error))? {
        let entry = entry.map_err(|error| SaveError::io("list the directory", dir, error))?;
        let name = entry.file_name();
        let is_temp = name
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
            // What is no file is nobody's snapshot, and opening a pipe would wait for somebody.
            && entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_temp {
            let path = entry.path();
            removed += usize::from(
                remove_if_stale(&path).map_err(|error| SaveError::io("remove the leftover", &path, error))?,
            );
        }
    }
    Ok(removed)
}

/// Whether a file that nobody has locked was removed.
fn remove_if_stale(path: &Path) -> io::Result<bool> {
    let result = File::open(path).and_then(|file| match file.try_lock() {
        Ok(()) if is_at(&file, path)? => fs::remove_file(path).map(|()| true),
        // Its writer has finished, or another cleaner was faster.
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    });
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        result => result,
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    Ok(file.metadata()?.ino() == fs::metadata(path)?.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_leftovers_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let id = SnapshotId([1; 16]);
        let at_work = TempFile::create(&dir.path().join("a"), id).unwrap();
        let stale = dir.path().join(format!("{PREFIX}dead-0{SUFFIX}"));
        fs::write(&stale, "half").unwrap();
        fs::write(dir.path().join("other.tmp"), "not ours").unwrap();
        let no_file = dir.path().join(format!("{PREFIX}directory-0{SUFFIX}"));
        fs::create_dir(&no_file).unwrap();
        assert_eq!(clean_stale(dir.path()).unwrap(), 1);
        fs::remove_dir(&no_file).unwrap();
        assert_eq!(
            names(dir.path()),
            [at_work.temp.file_name().unwrap().to_str().unwrap(), "other.tmp"]
        );
        drop(at_work);
        assert_eq!(names(dir.path()), ["other.tmp"]);
    }

    #[test]
    fn savers_with_the_same_id_use_different_files() {
        let dir = tempfile::tempdir().unwrap();
        let id = SnapshotId([1; 16]);
        let a = TempFile::create(&dir.path().join("a"), id).unwrap();
        let b = TempFile::create(&dir.path().join("a"), id).unwrap();
        assert_ne!(a.temp, b.temp);
        a.commit(Overwrite::Refuse).unwrap();
        assert!(matches!(
            b.commit(Overwrite::Refuse),
            Err(SaveError::AlreadyExists { .. })
        ));
        assert_eq!(names(dir.path()), ["a"]);
        assert_eq!(fs::metadata(dir.path().join("a")).unwrap().mode() & 0o7777, 0o400);
    }
}
