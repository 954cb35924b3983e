//! Lines for a terminal, pipe or file that nobody may be reading: written by a thread of its own, so that whoever says
//! something never waits.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lines that wait for a slow reader. When it is full, lines are left out, and later it is said how many.
const QUEUE_LINES: usize = 256;

/// Where lines go. Clones write to the same place.
#[derive(Debug, Clone)]
pub(crate) struct LineSink(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Guards the queue alone; never held while something is written.
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    /// Left out since one was last written.
    left_out: u64,
    writing: bool,
}

impl LineSink {
    /// Lines to standard output or standard error.
    pub(crate) fn new(stream: impl AsFd) -> io::Result<Self> {
        let file = File::from(stream.as_fd().try_clone_to_owned()?);
        let sink = Self(Arc::new(Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
        }));
        let shared = Arc::clone(&sink.0);
        // It ends with the process: a write that nobody takes cannot be called back.
        std::thread::Builder::new()
            .name("lines".to_owned())
            .spawn(move || shared.serve(file))?;
        Ok(sink)
    }

    /// Says `text`, which ends with a line break.
    pub(crate) fn say(&self, text: impl Into<Vec<u8>>) {
        let mut queue = self.0.lock();
        if queue.lines.len() < QUEUE_LINES {
            queue.lines.push_back(text.into());
        } else {
            queue.left_out += 1;
        }
        drop(queue);
        self.0.changed.notify_all();
    }

    /// Waits until everything is written, but no longer than `patience`.
    pub(crate) fn flush(&self, patience: Duration) {
        let queue = self.0.lock();
        let unwritten = |queue: &mut Queue| queue.writing || !queue.lines.is_empty();
        // Whoever does not read does not want to know.
        let _ = self.0.changed.wait_timeout_while(queue, patience, unwritten);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut out: impl Write) {
        loop {
            let (line, left_out) = self.next();
            let mut text = Vec::new();
            if left_out > 0 {
                text.extend(
                    format!("({left_out} lines were left out: nobody read them in time)\n").into_bytes(),
                );
            }
            text.extend(line);
            let written = out.write_all(&text);
            let mut queue = self.lock();
            queue.writing = false;
            if written.is_err() {
                // Closed, full, or made non-blocking by whom it is shared with.
                queue.left_out += left_out + 1;
            }
            drop(queue);
            self.changed.notify_all();
        }
    }

    fn next(&self) -> (Vec<u8>, u64) {
        let mut queue = self.lock();
        loop {
            if let Some(line) = queue.lines.pop_front() {
                queue.writing = true;
                return (line, std::mem::take(&mut queue.left_out));
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// For the log: each event is one write.
impl Write for LineSink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.say(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn lines_come_in_their_order() {
        let (reader, writer) = io::pipe().unwrap();
        let sink = LineSink::new(&writer).unwrap();
        for number in 0..QUEUE_LINES / 2 {
            sink.say(format!("{number}\n"));
        }
        sink.flush(PATIENCE);
        for (number, line) in BufReader::new(reader).lines().take(QUEUE_LINES / 2).enumerate() {
            assert_eq!(line.unwrap(), number.to_string());
        }
    }

    #[test]
    fn without_a_reader_nobody_waits_and_later_it_is_told_how_much_is_missing() {
        let (reader, writer) = io::pipe().unwrap();
        let sink = LineSink::new(&writer).unwrap();
        let line = format!("{}\n", "x".repeat(1023));
        // More than a pipe takes and than the queue holds.
        for _ in 0..4 * QUEUE_LINES {
            sink.say(line.clone());
        }
        let (lines, left_out) = std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let (mut lines, mut left_out) = (0, 0);
                for text in BufReader::new(reader).lines().map(Result::unwrap) {
                    match text.strip_prefix('(').and_then(|notice| notice.split_once(' ')) {
                        Some((count, _)) => left_out += count.parse::<usize>().unwrap(),
                        None if text == "the end" => break,
                        None => lines += 1,
                    }
                }
                (lines, left_out)
            });
            sink.flush(PATIENCE);
            sink.say("the end\n");
            reading.join().unwrap()
        });
        assert_eq!(lines + left_out, 4 * QUEUE_LINES);
        assert!(left_out > QUEUE_LINES, "{left_out} left out");
    }

    #[test]
    fn a_reader_that_has_gone_is_no_reason_to_stop() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let sink = LineSink::new(&writer).unwrap();
        for _ in 0..3 * QUEUE_LINES {
            sink.say("nobody hears this\n");
        }
        sink.flush(PATIENCE);
    }
}
