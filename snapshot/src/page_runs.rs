use std::slice;

use vm_memory::GuestAddress;

/// Consecutive pages of guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRun {
    /// Where the run begins, page aligned.
    pub gpa: GuestAddress,
    /// Bytes in the run, a positive multiple of the page size.
    pub len_bytes: u64,
}

impl PageRun {
    fn end(self) -> u64 {
        self.gpa.0 + self.len_bytes
    }
}

/// A set of guest pages as runs: ascending by GPA, disjoint, as few as possible.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageRuns {
    runs: Vec<PageRun>,
}

impl PageRuns {
    /// Appends a run that begins at or after the end of the last one, and joins the two if they touch.
    pub(crate) fn push(&mut self, run: PageRun) {
        match self.runs.last_mut() {
            Some(last) if last.end() == run.gpa.0 => last.len_bytes += run.len_bytes,
            _ => self.runs.push(run),
        }
    }

    /// The runs, ascending by GPA.
    pub fn as_slice(&self) -> &[PageRun] {
        &self.runs
    }

    /// The runs, ascending by GPA.
    pub fn iter(&self) -> slice::Iter<'_, PageRun> {
        self.runs.iter()
    }

    /// Whether the set has no page.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Bytes in all runs together. O(runs).
    pub fn total_bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.len_bytes).sum()
    }
}

impl<'a> IntoIterator for &'a PageRuns {
    type Item = &'a PageRun;
    type IntoIter = slice::Iter<'a, PageRun>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_touch_are_joined() {
        let mut runs = PageRuns::default();
        for (gpa, len_bytes) in [(0, 0x1000), (0x1000, 0x2000), (0x8000, 0x1000)] {
            runs.push(PageRun {
                gpa: GuestAddress(gpa),
                len_bytes,
            });
        }
        let expected = [(0, 0x3000), (0x8000, 0x1000)];
        assert!(runs.iter().map(|run| (run.gpa.0, run.len_bytes)).eq(expected));
        assert_eq!(runs.total_bytes(), 0x4000);
    }
}
