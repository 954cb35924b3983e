//! A path holds no snapshot or a whole one, whatever happens to those who save to it.

use std::env;
use std::fs;
use std::io::{Error, ErrorKind, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;

use snapshot::{
    Overwrite, SaveError, SaveOptions, Section, SectionKind, Snapshot, SnapshotId, clean_stale, save,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::common::{ID, PAGE, guest};

/// Tells a test that it is the child of another one, and which directory to save to.
const CHILD_DIR: &str = "SNAPSHOT_TEST_CHILD_DIR";
const SIZE: u64 = 8 << 20;
const FULL: i32 = 28;
const TOO_LARGE: i32 = 27;

/// Memory and section of the nth save: every page says n, and so does the section.
fn nth(memory: &GuestMemoryMmap, n: u64) -> Section {
    for page in 0..SIZE / PAGE {
        memory.write_obj(n, GuestAddress(page * PAGE)).unwrap();
    }
    Section {
        kind: SectionKind(1),
        version: 1,
        bytes: n.to_le_bytes().to_vec(),
    }
}

/// Which save this is the whole snapshot of.
fn assert_whole(path: &Path) -> u64 {
    let snapshot = Snapshot::open(path).unwrap();
    snapshot.verify_memory().unwrap();
    let n = u64::from_le_bytes(snapshot.sections()[0].bytes.as_slice().try_into().unwrap());
    let memory = snapshot.map_cow().unwrap();
    for page in 0..SIZE / PAGE {
        assert_eq!(
            memory.read_obj::<u64>(GuestAddress(page * PAGE)).unwrap(),
            n,
            "page {page}"
        );
    }
    n
}

fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

/// A command that runs one test of this binary.
fn this_test(name: &str) -> Vec<String> {
    let exe = env::current_exe()
        .unwrap()
        .into_os_string()
        .into_string()
        .unwrap();
    [exe.as_str(), "--exact", name, "--nocapture"]
        .map(str::to_owned)
        .to_vec()
}

#[test]
fn a_saver_killed_at_any_moment_leaves_no_snapshot_or_a_whole_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.snap");
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..24 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let command = this_test("atomic::child_saves_until_it_is_killed");
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // The child writes a byte at every step of a save, and libtest some before.
        let mut steps = vec![0; usize::try_from(random % 64).unwrap() + 40];
        child.stdout.as_mut().unwrap().read_exact(&mut steps).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        if path.exists() {
            assert_whole(&path);
        }
        assert!(
            entries(dir.path()) <= 2,
            "every save cleans up after those before"
        );
    }
    clean_stale(dir.path()).unwrap();
    assert_eq!(entries(dir.path()), usize::from(path.exists()));
}

#[test]
fn child_saves_until_it_is_killed() {
    let Some(dir) = env::var_os(CHILD_DIR) else { return };
    let path = Path::new(&dir).join("a.snap");
    let memory = guest(&[(0, SIZE)]);
    for n in 1.. {
        let section = nth(&memory, n);
        let mut stdout = std::io::stdout();
        let mut step = |_| stdout.write_all(b".").and_then(|()| stdout.flush()).unwrap();
        let options = SaveOptions::new(ID, n)
            .overwrite(Overwrite::Replace)
            .progress(&mut step);
        save(&path, &memory, &[section], options).unwrap();
    }
}

/// Runs `child_has_no_room` behind a shell command that takes the room away, and says whether it could.
fn without_room(dir: &Path, shell: &[&str], script: &str) -> bool {
    let script = format!("{script} || exit 77; shift; exec \"$@\"");
    let status = Command::new(shell[0])
        .args(&shell[1..])
        .args(["sh", "-c", &script, "sh"])
        .arg(dir)
        .args(this_test("atomic::child_has_no_room"))
        .env(CHILD_DIR, dir)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    let refused = status.code() == Some(77) || status.code() == Some(1) && shell.len() > 1;
    assert!(status.success() || refused, "{status}");
    status.success()
}

#[test]
fn a_limit_on_file_size_gives_an_error_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert!(without_room(
        dir.path(),
        &["env"],
        "ulimit -f 4096 && trap '' XFSZ"
    ));
}

#[test]
fn a_full_disk_gives_an_error_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    if !without_room(
        dir.path(),
        &["unshare", "-rm"],
        "mount -t tmpfs -o size=1m tmpfs \"$1\"",
    ) {
        eprintln!("skipped: no permission to mount a small file system");
    }
}

#[test]
fn child_has_no_room() {
    let Some(dir) = env::var_os(CHILD_DIR) else { return };
    let dir = Path::new(&dir);
    let memory = guest(&[(0, SIZE)]);
    let section = nth(&memory, 1);
    let error = save(dir.join("a.snap"), &memory, &[section], SaveOptions::new(ID, 1)).unwrap_err();
    match &error {
        SaveError::Io { source, path, .. } => {
            assert!(
                matches!(source.raw_os_error(), Some(FULL | TOO_LARGE)),
                "{source:?}"
            );
            assert_eq!(path, &dir.join("a.snap"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(entries(dir), 0, "neither a snapshot nor a temporary file");
}

#[test]
fn of_savers_to_one_path_that_refuse_to_overwrite_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.snap");
    let results = race(&path, Overwrite::Refuse);
    let winner = results.iter().position(Result::is_ok).unwrap();
    assert_eq!(assert_whole(&path), winner as u64);
    for (n, result) in results.iter().enumerate() {
        assert!(
            n == winner || matches!(result, Err(SaveError::AlreadyExists { .. })),
            "{result:?}"
        );
    }
    assert_eq!(entries(dir.path()), 1);
}

#[test]
fn savers_that_replace_each_other_leave_one_whole_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.snap");
    for result in race(&path, Overwrite::Replace) {
        result.unwrap();
    }
    assert_whole(&path);
    assert_eq!(entries(dir.path()), 1);
}

/// Four threads save at once.
fn race(path: &Path, overwrite: Overwrite) -> Vec<Result<snapshot::Saved, SaveError>> {
    let barrier = Barrier::new(4);
    let save_nth = |n: u64| {
        let memory = guest(&[(0, SIZE)]);
        let section = nth(&memory, n);
        barrier.wait();
        let id = SnapshotId([u8::try_from(n / 2).unwrap(); 16]);
        save(
            path,
            &memory,
            &[section],
            SaveOptions::new(id, n).overwrite(overwrite),
        )
    };
    thread::scope(|scope| {
        let save_nth = &save_nth;
        let savers: Vec<_> = (0..4).map(|n| scope.spawn(move || save_nth(n))).collect();
        savers.into_iter().map(|saver| saver.join().unwrap()).collect()
    })
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let memory = guest(&[(0, PAGE)]);
    let error = save(
        dir.path().join("no/a.snap"),
        &memory,
        &[],
        SaveOptions::new(ID, 1),
    )
    .unwrap_err();
    let is_not_found = |source: &Error| source.kind() == ErrorKind::NotFound;
    assert!(
        matches!(&error, SaveError::Io { source, .. } if is_not_found(source)),
        "{error:?}"
    );
}
