//! The real program as a child of the test.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::client::{Reply, TIMEOUT, get};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_platform");

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A program that runs; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    stderr: Receiver<String>,
    stdout: String,
}

/// The program with `arguments`.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env_remove("RUST_LOG");
    command
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Result<Ended> {
    Process::spawn(program(arguments))?.end()
}

/// Sends `signal`, such as `TERM`, to a process.
pub(crate) fn signal(id: u32, signal: &str) -> Result<()> {
    let status = Command::new("sh")
        .args(["-c", "kill -s \"$1\" \"$2\"", "sh", signal, &id.to_string()])
        .status()?;
    ensure!(status.success(), "kill -s {signal} {id}: {status}");
    Ok(())
}

/// What a program says, line by line, until it closes that or says nothing for too long.
pub(crate) fn lines(stream: impl Read + Send + 'static) -> impl Iterator<Item = String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        BufReader::new(stream)
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| sender.send(line))
    });
    std::iter::from_fn(move || lines.recv_timeout(TIMEOUT).ok())
}

impl Process {
    pub(crate) fn spawn(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let stdout = child.stdout.take().context("its output is piped")?;
        let mut stderr = child.stderr.take().context("its errors are piped")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            BufReader::new(stdout)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        let (sender, errors) = channel();
        thread::spawn(move || {
            let mut text = Vec::new();
            // A part is better than nothing.
            let _ = stderr.read_to_end(&mut text);
            sender.send(String::from_utf8_lossy(&text).into_owned())
        });
        Ok(Self {
            child,
            lines,
            stderr: errors,
            stdout: String::new(),
        })
    }

    /// `serve` on a free port with `arguments`, once it serves, and where.
    pub(crate) fn serve(arguments: &[&str]) -> Result<(Self, SocketAddr)> {
        Self::serving(program(
            &[&["serve", "--listen", "127.0.0.1:0"], arguments].concat(),
        ))
    }

    /// What `command` runs, once it serves, and where.
    pub(crate) fn serving(command: Command) -> Result<(Self, SocketAddr)> {
        let mut process = Self::spawn(command)?;
        let line = process.line("serving on http://")?;
        let addr = line.split([' ', '/']).find_map(|word| word.parse().ok());
        Ok((process, addr.with_context(|| format!("no address in {line:?}"))?))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of output with `part` in it.
    pub(crate) fn line(&mut self, part: &str) -> Result<String> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match self.next_line(deadline)? {
                Some(line) if line.contains(part) => return Ok(line),
                Some(_) => {}
                None => {
                    let ended = self.wait()?;
                    bail!("ended without {part:?}: {ended:?}");
                }
            }
        }
    }

    /// Waits for `time` in which it must say nothing.
    pub(crate) fn silence(&mut self, time: Duration) -> Result<()> {
        match self.lines.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => bail!("it has ended: {:?}", self.wait()?),
            Ok(line) => bail!("it said {line:?}"),
        }
    }

    /// Asks for `path` once, then waits until the instance sleeps again.
    pub(crate) fn get_and_sleep(&mut self, addr: SocketAddr, path: &str) -> Result<Reply> {
        let reply = get(addr, path)?;
        self.line("asleep (")?;
        Ok(reply)
    }

    /// Sends `signal`, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        signal(self.id(), name)
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Result<Ended> {
        let deadline = Instant::now() + 3 * TIMEOUT;
        while self.next_line(deadline)?.is_some() {}
        self.wait()
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn terminate(self) -> Result<Ended> {
        self.signal("TERM")?;
        self.end()
    }

    /// The next line of output, or `None` when it has closed that.
    fn next_line(&mut self, deadline: Instant) -> Result<Option<String>> {
        match self
            .lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            Ok(line) => {
                writeln!(self.stdout, "{line}")?;
                Ok(Some(line))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("no more in time than {:?}", self.stdout),
        }
    }

    /// Its outcome, after it has closed its output.
    fn wait(&mut self) -> Result<Ended> {
        let stderr = self
            .stderr
            .recv_timeout(TIMEOUT)
            .context("it keeps its errors open")?;
        let code = self.child.wait()?.code();
        Ok(Ended {
            code,
            stdout: std::mem::take(&mut self.stdout),
            stderr,
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
