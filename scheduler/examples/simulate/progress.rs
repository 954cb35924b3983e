use std::io::{self, IsTerminal, Write};

/// One line on a terminal that says how far we are; nothing elsewhere. Gone when it is dropped.
pub(crate) struct Progress<'a> {
    what: &'a str,
    shown: bool,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(what: &'a str) -> Self {
        let shown = io::stderr().is_terminal();
        Self { what, shown }
    }

    pub(crate) fn show(&self, done: usize, total: usize) {
        if self.shown {
            let mut screen = io::stderr().lock();
            // Nothing depends on whether it can be seen.
            let _ = write!(screen, "\r{}: {done} of {total} runs\u{1b}[K", self.what);
            let _ = screen.flush();
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\u{1b}[K"); // as above
        }
    }
}
