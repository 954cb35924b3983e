//! What `cargo test` printed, counted.

/// Tests by result, summed over any number of test binaries.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    /// The ignored ones that could be read from the output, in its order.
    pub(crate) skipped: Vec<Skipped>,
}

/// A test that did not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Skipped {
    /// The test binary as cargo names it, such as `tests/boot.rs`.
    pub(crate) suite: String,
    /// With the kind in front where the harness prints one: `[kvm] boots`.
    pub(crate) name: String,
    /// What the test itself says.
    pub(crate) reason: Option<String>,
}

impl Tally {
    /// Reads the lines of libtest, and of harnesses that print what it prints.
    pub(crate) fn read(output: &str) -> Self {
        let mut tally = Self::default();
        let mut suite = String::new();
        for line in output.lines().map(plain) {
            let line = line.trim();
            if let Some(rest) = line.strip_prefix("Running ") {
                // `Running tests/boot.rs (target/debug/deps/boot-0123456789abcdef)`
                suite = rest.split(" (").next().unwrap_or(rest).to_owned();
            } else if let Some(package) = line.strip_prefix("Doc-tests ") {
                suite = format!("doc tests of {package}");
            } else if let Some(counts) = line.strip_prefix("test result: ") {
                tally.passed += count(counts, " passed");
                tally.failed += count(counts, " failed");
                tally.ignored += count(counts, " ignored");
            } else if let Some((name, reason)) = ignored(line) {
                tally.skipped.push(Skipped {
                    suite: suite.clone(),
                    name,
                    reason,
                });
            }
        }
        tally
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.skipped.extend(other.skipped);
    }
}

/// The number in front of a word of `ok. 3 passed; 0 failed; 1 ignored; …`.
fn count(counts: &str, word: &str) -> u64 {
    let before = counts.split(word).next().unwrap_or_default();
    before
        .rsplit(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// Name and reason of `test NAME ... ignored`, of libtest's `ignored, REASON` and of libtest-mimic's `ignored (REASON)`.
fn ignored(line: &str) -> Option<(String, Option<String>)> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let reason = result.strip_prefix("ignored")?;
    let in_brackets = || reason.strip_prefix(" (")?.strip_suffix(')');
    let reason = match reason.strip_prefix(", ").or_else(in_brackets) {
        Some(reason) => Some(reason.to_owned()),
        None if reason.is_empty() => None,
        None => return None,
    };
    // libtest-mimic fills up with spaces so that results stand in a column.
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    Some((name, reason))
}

/// The line without ANSI colour sequences (`ESC [ … letter`).
pub(super) fn plain(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let text = part.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
        plain.extend(text.chars().skip(1));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
   Compiling scheduler v0.1.0
\u{1b}[1m\u{1b}[92m     Running\u{1b}[0m unittests src/lib.rs (target/debug/deps/scheduler-0123)

running 3 tests
test units::rounds_up ... ok
test sim::replays_a_day ... ignored, takes an hour
test sim::diverges ... FAILED

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running tests/boot.rs (target/debug/deps/boot-4567)

running 2 tests
test [kvm]  boots     ... ignored
test [qemu] boots_too ... ok

test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests scheduler

running 12 tests
test scheduler/src/lib.rs - (line 9) ... ignored
test scheduler/src/lib.rs - (line 19) - compile ... ok

test result: ok. 11 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.00s
";

    #[test]
    fn counts_are_summed_over_binaries() {
        let tally = Tally::read(OUTPUT);
        assert_eq!((tally.passed, tally.failed, tally.ignored), (13, 1, 3));
    }

    #[test]
    fn ignored_tests_are_named_with_their_suite_and_reason() {
        let skipped = |suite: &str, name: &str, reason: Option<&str>| Skipped {
            suite: suite.into(),
            name: name.into(),
            reason: reason.map(Into::into),
        };
        assert_eq!(
            Tally::read(OUTPUT).skipped,
            [
                skipped(
                    "unittests src/lib.rs",
                    "sim::replays_a_day",
                    Some("takes an hour")
                ),
                skipped("tests/boot.rs", "[kvm] boots", None),
                skipped("doc tests of scheduler", "scheduler/src/lib.rs - (line 9)", None),
            ]
        );
    }

    #[test]
    fn a_test_that_prints_the_word_is_not_ignored() {
        assert_eq!(ignored("test x ... ignored_values are fine"), None);
        assert_eq!(ignored("the test x ... ignored"), None);
    }

    #[test]
    fn both_harnesses_ways_to_give_a_reason_are_read() {
        let why = Some(("x".to_owned(), Some("no KVM".to_owned())));
        assert_eq!(ignored("test x ... ignored, no KVM"), why);
        assert_eq!(ignored("test x ... ignored (no KVM)"), why);
    }

    #[test]
    fn colours_are_removed() {
        assert_eq!(plain("\u{1b}[1m\u{1b}[38;5;9merror\u{1b}[0m: x"), "error: x");
        assert_eq!(plain("a\u{1b}["), "a");
    }
}
