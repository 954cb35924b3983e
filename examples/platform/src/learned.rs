//! What the scheduler has learned of one platform's requests, kept from run to run.

mod keeper;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use scheduler::{LearnedSki, Policy};

use crate::aside::rename_aside;
use crate::causes::causes;

pub(crate) use keeper::Keeper;

const FILE: &str = "learned.policy";
/// Some hundred bytes are usual. More than this was not saved here, and is not read.
const MOST_BYTES: u64 = 1 << 20;

/// The file that holds it, in a directory that nobody else writes to.
#[derive(Debug, Clone)]
pub(crate) struct LearnedFile {
    path: PathBuf,
}

impl LearnedFile {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { path: dir.join(FILE) }
    }

    /// What an earlier run has learned: nothing if there was none. What cannot be used is put aside, and nothing is known.
    pub(crate) fn open(&self) -> LearnedSki {
        let mut policy = LearnedSki::new();
        let restored = match read(&self.path) {
            Ok(Some(bytes)) => policy.restore(&bytes).map_err(|error| causes(&error)),
            Ok(None) => Ok(()),
            Err(why) => Err(why),
        };
        if let Err(why) = restored {
            rename_aside(&self.path, &why);
        }
        policy
    }

    /// Puts `bytes` in the place of what was saved before, which stays if that fails.
    pub(crate) fn save(&self, bytes: &[u8]) -> io::Result<()> {
        let beside = self.path.with_extension("tmp");
        // Of a run that was killed meanwhile.
        if beside.is_file() {
            fs::remove_file(&beside)?;
        }
        let mut file = File::create_new(&beside)?;
        let written = file
            .write_all(bytes)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&beside, &self.path));
        if written.is_err() {
            // It takes room that may be short; the error that matters is told.
            let _ = fs::remove_file(&beside);
        }
        written?;
        match self.path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }
}

/// The bytes of the file, `None` if it is not there, or why it cannot be read.
fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    if !found.is_file() {
        // A pipe would be waited for.
        return Err("it is not a file".to_owned());
    }
    if found.len() > MOST_BYTES {
        return Err(format!("it is larger than {MOST_BYTES} bytes"));
    }
    fs::read(path).map(Some).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use scheduler::{Observation, Seen, ServiceConfig, ServiceId, Timestamp};

    use super::*;

    /// What is known after `calls` requests.
    pub(super) fn learned(calls: u64) -> Vec<u8> {
        let (config, service) = (ServiceConfig::default(), ServiceId(1));
        let mut policy = LearnedSki::new();
        for call in 0..calls {
            let came = Timestamp::ZERO + Duration::from_millis(700 * call);
            for (at, before, after) in [(came, 0, 1), (came + Duration::from_millis(3), 1, 0)] {
                policy.observe(
                    &config,
                    &Observation::new(service, at, Seen::Level { before, after }),
                );
            }
        }
        saved(&policy)
    }

    pub(super) fn saved(policy: &LearnedSki) -> Vec<u8> {
        let mut bytes = Vec::new();
        policy.save(&mut bytes);
        bytes
    }

    fn names(dir: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_saved_last_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let file = LearnedFile::new(dir.path());
        assert_eq!(saved(&file.open()), saved(&LearnedSki::new()));
        assert!(names(dir.path()).is_empty());
        for calls in [30, 5, 100] {
            file.save(&learned(calls)).unwrap();
            assert_eq!(saved(&file.open()), learned(calls));
        }
        assert_eq!(names(dir.path()), [FILE]);
    }

    #[test]
    fn what_is_damaged_or_foreign_is_put_aside_whole_and_nothing_is_known() {
        let whole = learned(30);
        let flipped = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            bytes
        };
        let mut damaged: Vec<_> = (0..whole.len()).map(flipped).collect();
        damaged.extend((0..whole.len()).map(|len| whole[..len].to_vec()));
        damaged.push(b"#!/bin/sh\necho hello\n".to_vec());
        damaged.push([&whole[..], b"more"].concat());
        for bytes in damaged {
            let dir = tempfile::tempdir().unwrap();
            let file = LearnedFile::new(dir.path());
            fs::write(&file.path, &bytes).unwrap();
            assert_eq!(saved(&file.open()), saved(&LearnedSki::new()), "{bytes:?}");
            assert_eq!(names(dir.path()), ["learned.unused-1"], "{bytes:?}");
            assert_eq!(fs::read(dir.path().join("learned.unused-1")).unwrap(), bytes);
        }
    }

    #[test]
    fn what_is_no_file_or_too_large_is_put_aside_unread() {
        let dir = tempfile::tempdir().unwrap();
        let file = LearnedFile::new(dir.path());
        fs::create_dir(&file.path).unwrap();
        file.open();
        let made = Command::new("mkfifo").arg(&file.path).status().unwrap();
        assert!(made.success(), "{made}");
        file.open();
        File::create(&file.path).unwrap().set_len(1 << 40).unwrap();
        file.open();
        let aside = [1, 2, 3].map(|number| format!("learned.unused-{number}"));
        assert_eq!(names(dir.path()), aside);
        file.save(&learned(3)).unwrap();
        assert_eq!(saved(&file.open()), learned(3));
    }

    #[test]
    fn a_save_that_fails_leaves_what_was_saved_before() {
        let dir = tempfile::tempdir().unwrap();
        let file = LearnedFile::new(dir.path());
        file.save(&learned(3)).unwrap();
        let in_the_way = dir.path().join("learned.tmp");
        fs::create_dir(&in_the_way).unwrap();
        file.save(&learned(5)).unwrap_err();
        assert_eq!(saved(&file.open()), learned(3));
        fs::remove_dir(&in_the_way).unwrap();
        fs::write(&in_the_way, "half").unwrap();
        file.save(&learned(5)).unwrap();
        assert_eq!(saved(&file.open()), learned(5));
        assert_eq!(names(dir.path()), [FILE]);
    }
}
