//! A directory for one run, which is gone afterwards: at its end or, after a sudden one, when the next run begins.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use tracing::debug;

/// What the names of such directories begin with.
const PREFIX: &str = "platform-run-";
/// A directory into which somebody still writes may need more than one attempt.
const REMOVALS: usize = 10;

/// A directory of one's own. Its lock is its owner's sign of life; dropping it removes the directory.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Makes one in the system's directory for temporary files, and removes what dead processes have left there.
    pub(crate) fn new() -> io::Result<Self> {
        Self::new_in(&std::env::temp_dir())
    }

    fn new_in(parent: &Path) -> io::Result<Self> {
        remove_ownerless(parent);
        loop {
            let path = make_dir(parent)?;
            // In between another process may have taken it for ownerless.
            match lock(&path) {
                Ok(Some(lock)) => return Ok(Self { path, _lock: lock }),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a directory that only its owner may look into, of a name that nothing has.
fn make_dir(parent: &Path) -> io::Result<PathBuf> {
    let process = std::process::id();
    for number in 0_u64.. {
        let path = parent.join(format!("{PREFIX}{process}-{number}"));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| path),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Locks the directory at `path`; `None` if somebody else has, or has removed it meanwhile.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let dir = File::open(path)?;
    match dir.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Ok(None),
        Err(fs::TryLockError::Error(error)) => return Err(error),
    }
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    let still_there = fs::symlink_metadata(path).is_ok_and(|found| {
        found.is_dir()
            && dir
                .metadata()
                .is_ok_and(|locked| identity(found) == identity(locked))
    });
    Ok(still_there.then_some(dir))
}

fn remove_ownerless(parent: &Path) {
    let me = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let named = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX));
        // The entry itself: a link of that name may lead anywhere.
        let mine = || {
            entry
                .metadata()
                .is_ok_and(|found| found.is_dir() && found.uid() == me)
        };
        if named
            && mine()
            && let Ok(Some(_ours)) = lock(&entry.path())
        {
            debug!(path = %entry.path().display(), "removing the directory of a run that ended suddenly");
            remove(&entry.path());
        }
    }
}

/// Removes what can be removed; what cannot stays for the next run.
fn remove(path: &Path) {
    for _ in 0..REMOVALS {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(parent: &Path) -> usize {
        fs::read_dir(parent).unwrap().count()
    }

    #[test]
    fn it_is_gone_in_the_end_with_what_is_in_it() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new_in(parent.path()).unwrap();
        fs::write(scratch.path().join("snapshot"), "x").unwrap();
        drop(scratch);
        assert_eq!(entries(parent.path()), 0);
    }

    #[test]
    fn why_none_can_be_made_is_told_without_its_path() {
        let parent = tempfile::tempdir().unwrap();
        let error = Scratch::new_in(&parent.path().join("nope")).unwrap_err();
        assert_eq!(error.to_string(), "No such file or directory (os error 2)");
    }

    #[test]
    fn only_what_has_no_living_owner_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let living = Scratch::new_in(parent.path()).unwrap();
        let dead = parent.path().join(format!("{PREFIX}dead"));
        let link = parent.path().join(format!("{PREFIX}link"));
        let other = parent.path().join("other");
        for dir in [&dead, &other] {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join("file"), "x").unwrap();
        }
        std::os::unix::fs::symlink(&other, &link).unwrap();
        let another = Scratch::new_in(parent.path()).unwrap();
        assert!(!dead.exists(), "the dead one is still there");
        assert!(living.path().exists() && another.path().exists() && link.exists());
        assert!(other.join("file").exists());
    }

    #[test]
    fn many_that_begin_at_once_do_not_remove_each_other() {
        let parent = tempfile::tempdir().unwrap();
        let made: Vec<_> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        (0..20)
                            .map(|_| Scratch::new_in(parent.path()).unwrap())
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            makers
                .into_iter()
                .flat_map(|maker| maker.join().unwrap())
                .collect()
        });
        assert!(made.iter().all(|scratch| scratch.path().is_dir()));
        drop(made);
        assert_eq!(entries(parent.path()), 0);
    }
}
