//! The shape of files: short enough to read in one sitting, and free of paths that only one machine has.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::step::Outcome;
use crate::workspace::Workspace;

/// The longest a Rust file may be; most are far below.
const LINES: usize = 500;

/// Files that may be longer, and why.
const LONG: &[(&str, &str)] = &[];

/// Directories under which only one machine keeps things.
const PRIVATE: &[&str] = &["home", "Users", "root", "work"];

/// A file larger than this is no text of ours.
const LARGEST_BYTES: u64 = 1 << 20;

pub(crate) fn step(workspace: &Workspace) -> Result<Outcome> {
    let root = workspace.root();
    let mut files = Vec::new();
    walk(root, &mut files)?;
    files.sort();
    let mut problems = Vec::new();
    let mut checked = 0;
    for file in &files {
        let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        checked += 1;
        let path = file.strip_prefix(root).unwrap_or(file).to_string_lossy();
        problems.extend(check(&path, &text, LONG));
    }
    let gone = LONG.iter().filter(|(path, _)| !root.join(path).exists());
    problems.extend(gone.map(|(path, _)| format!("{path}: on the list of long files, but not there")));
    Ok(Outcome::of_problems(&problems, format!("{checked} text files")))
}

/// Collects the files below a directory that are ours: nothing hidden but `.ci` and `.cargo`, nothing built.
fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("list {}", directory.display()))?;
        let about = entry
            .metadata()
            .with_context(|| format!("look at {}", entry.path().display()))?;
        if about.is_dir() && is_ours(&entry.file_name()) {
            walk(&entry.path(), files)?;
        } else if about.is_file() && entry.file_name() != ".git" && about.len() <= LARGEST_BYTES {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn is_ours(directory: &OsStr) -> bool {
    let name = directory.to_string_lossy();
    !matches!(name.as_ref(), "target" | "results")
        && (!name.starts_with('.') || matches!(name.as_ref(), ".ci" | ".cargo"))
}

/// What is wrong with one file.
fn check(path: &str, text: &str, long: &[(&str, &str)]) -> Vec<String> {
    let mut problems = Vec::new();
    let lines = text.lines().count();
    let listed = long.iter().any(|(listed, _)| *listed == path);
    match (path.ends_with(".rs") && lines > LINES, listed) {
        (true, false) => problems.push(format!("{path}: {lines} lines; at most {LINES}")),
        (false, true) => problems.push(format!(
            "{path}: on the list of long files, but has {lines} lines"
        )),
        (true, true) | (false, false) => {}
    }
    for (number, line) in (1..).zip(text.lines()) {
        problems
            .extend(private_path(line).map(|found| format!("{path}:{number}: path of one machine: {found}")));
    }
    problems
}

/// The first absolute path in a line that leads into a private directory.
fn private_path(line: &str) -> Option<&str> {
    line.match_indices('/').find_map(|(start, _)| {
        let (before, path) = line.split_at(start);
        let is_start = !before.ends_with(|c: char| c.is_alphanumeric() || "/._-~}$*>)".contains(c));
        let mut parts = path.splitn(3, '/').skip(1);
        let is_private = PRIVATE.contains(&parts.next()?);
        let leads_somewhere = parts
            .next()?
            .starts_with(|c: char| c.is_alphanumeric() || c == '.');
        let end = path
            .find(|c: char| c.is_whitespace() || "\"'`)>,;".contains(c))
            .unwrap_or(path.len());
        (is_start && is_private && leads_somewhere).then(|| path.split_at(end).0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_rust_file_is_a_problem() {
        let text = "\n".repeat(LINES + 1);
        assert_eq!(check("a/b.rs", &text, &[]), ["a/b.rs: 501 lines; at most 500"]);
        assert_eq!(check("a/b.md", &text, &[]), [""; 0]);
        assert_eq!(check("a/b.rs", &"\n".repeat(LINES), &[]), [""; 0]);
    }

    #[test]
    fn the_list_of_long_files_stays_true() {
        let list = [("a/b.rs", "a table of a specification")];
        assert_eq!(check("a/b.rs", &"\n".repeat(LINES + 1), &list), [""; 0]);
        assert_eq!(
            check("a/b.rs", "", &list),
            ["a/b.rs: on the list of long files, but has 0 lines"]
        );
    }

    #[test]
    fn a_private_path_is_found_with_its_line() {
        // Put together here, or this file would be a finding itself.
        let text = format!("fine\nopen(\"/{}/jane/key\")", "home");
        let found = format!("a.rs:2: path of one machine: /{}/jane/key", "home");
        assert_eq!(check("a.rs", &text, &[]), [found]);
    }

    #[test]
    fn words_and_addresses_are_no_private_paths() {
        for line in [
            "https://example.org/home/x",
            "./root/x",
            "$HOME/work/x",
            "/home/",
            "/dev/kvm",
            "and/or",
            "/",
        ] {
            assert_eq!(private_path(line), None, "{line}");
        }
    }

    #[test]
    fn only_our_own_files_are_looked_at() {
        let root = tempfile::tempdir().unwrap();
        // In a second working tree of a repository, `.git` is a file that says where that is.
        for path in ["a/b.rs", "target/c.rs", ".git/d", "tree/.git", ".ci/run"] {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let mut files = Vec::new();
        walk(root.path(), &mut files).unwrap();
        files.sort();
        assert_eq!(files, [root.path().join(".ci/run"), root.path().join("a/b.rs")]);
    }
}
