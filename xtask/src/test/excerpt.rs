//! What of a failed command's output is worth repeating at the end.

use super::tally::plain;

/// At most this many lines are repeated: the last ones.
const LINES: usize = 300;

/// First words of the lines in which cargo says what it is busy with.
const BUSY: &[&str] = &[
    "Blocking",
    "Checking",
    "Compiling",
    "Documenting",
    "Downloaded",
    "Downloading",
    "Finished",
    "Generated",
    "Locking",
    "Updating",
];

/// The output without progress lines and tests that passed.
pub(crate) fn excerpt(output: &str) -> String {
    let mut kept: Vec<&str> = output.lines().filter(|line| tells(&plain(line))).collect();
    kept.dedup_by(|line, before| line.trim().is_empty() && before.trim().is_empty());
    let (cut, last) = kept.split_at(kept.len().saturating_sub(LINES));
    let mut text = last.join("\n");
    if !cut.is_empty() {
        text.insert_str(0, &format!("({} lines above)\n", cut.len()));
    }
    text
}

/// Whether a line says more than that something goes on or well.
fn tells(line: &str) -> bool {
    let line = line.trim();
    let busy = line.split(' ').next().is_some_and(|word| BUSY.contains(&word));
    let well = line.starts_with("test ") && line.ends_with(" ... ok");
    !busy && !well
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_and_passed_tests_are_left_out() {
        let output =
            "\u{1b}[92m   Compiling\u{1b}[0m a v0.1.0\ntest a ... ok\ntest b ... FAILED\n\n\n\npanicked at\n";
        assert_eq!(excerpt(output), "test b ... FAILED\n\npanicked at");
    }

    #[test]
    fn of_a_long_output_the_end_is_kept() {
        let output: String = (0..LINES + 2).map(|n| format!("line {n}\n")).collect();
        let excerpt = excerpt(&output);
        assert!(excerpt.starts_with("(2 lines above)\nline 2\n"), "{excerpt}");
        assert!(excerpt.ends_with(&format!("line {}", LINES + 1)), "{excerpt}");
    }
}
