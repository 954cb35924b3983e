//! What the program says, and that it does not depend on anybody reading that.

use std::io::{PipeReader, PipeWriter, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::Test;
use crate::client::get;
use crate::process::{Process, program};

pub(crate) const TESTS: &[Test] = &[
    (
        "voice::a_full_pipe_as_standard_output_stops_nothing",
        a_full_pipe_as_standard_output_stops_nothing,
    ),
    (
        "voice::a_full_pipe_as_standard_error_stops_nothing",
        a_full_pipe_as_standard_error_stops_nothing,
    ),
    (
        "voice::a_closed_pipe_as_standard_output_stops_nothing",
        a_closed_pipe_as_standard_output_stops_nothing,
    ),
    (
        "voice::there_are_no_colours_but_on_a_terminal",
        there_are_no_colours_but_on_a_terminal,
    ),
];

pub(crate) const TERMINAL_TESTS: &[Test] = &[(
    "voice::on_a_terminal_there_are_colours_unless_nobody_wants_them",
    on_a_terminal_there_are_colours_unless_nobody_wants_them,
)];

/// A pipe that takes nothing more, and that nobody reads.
fn full_pipe() -> Result<(PipeReader, PipeWriter)> {
    let (reader, mut writer) = std::io::pipe()?;
    rustix::io::ioctl_fionbio(&writer, true)?;
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    // For its next user writing is to wait, as pipes do.
    rustix::io::ioctl_fionbio(&writer, false)?;
    Ok((reader, writer))
}

/// `serve` on a free port.
fn serve() -> Command {
    let mut command = program(&["serve", "--cooldown-ms", "1", "--listen", "127.0.0.1:0"]);
    command.stdin(Stdio::null()).env("RUST_LOG", "platform=info");
    command
}

/// Waits until one of the lines says that it serves, and where.
fn serving(lines: &mut impl Iterator<Item = String>) -> Result<SocketAddr> {
    let line = lines
        .find(|line| line.contains("serving"))
        .context("it does not come to serve")?;
    let (_, rest) = line
        .split_once("127.0.0.1:")
        .with_context(|| format!("no address in {line:?}"))?;
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Ok(SocketAddr::from(([127, 0, 0, 1], port.parse()?)))
}

/// A program whose standard output goes where the test wants it; killed when dropped.
struct Mute(Child);

impl Drop for Mute {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Mute {
    fn spawn(command: &mut Command) -> Result<(Self, ChildStderr)> {
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().context("its errors are piped")?;
        Ok((Self(child), stderr))
    }

    /// It serves, goes to sleep and wakes again, and ends in order.
    fn lives(mut self, stderr: ChildStderr) -> Result<()> {
        let mut log = crate::process::lines(stderr);
        let addr = serving(&mut log)?;
        for count in 1..=100 {
            ensure!(get(addr, "/count")?.number()? == count);
        }
        crate::process::signal(self.0.id(), "TERM")?;
        // It closes its errors when it ends.
        ensure!(log.by_ref().count() < 10, "many lines of errors");
        let status = self.0.wait()?;
        ensure!(status.code() == Some(0), "{status}");
        Ok(())
    }
}

fn a_full_pipe_as_standard_output_stops_nothing() -> Result<()> {
    let (_reader, writer) = full_pipe()?;
    let (mute, stderr) = Mute::spawn(serve().stdout(writer))?;
    mute.lives(stderr)
}

fn a_closed_pipe_as_standard_output_stops_nothing() -> Result<()> {
    let (reader, writer) = full_pipe()?;
    drop(reader);
    let (mute, stderr) = Mute::spawn(serve().stdout(writer))?;
    mute.lives(stderr)
}

fn a_full_pipe_as_standard_error_stops_nothing() -> Result<()> {
    let (_reader, writer) = full_pipe()?;
    let mut command = serve();
    command.env("RUST_LOG", "debug");
    let mut child = Mute(command.stdout(Stdio::piped()).stderr(writer).spawn()?);
    let stdout = child.0.stdout.take().context("its output is piped")?;
    let mut said = crate::process::lines(stdout);
    let addr = serving(&mut said)?;
    for count in 1..=20 {
        ensure!(get(addr, "/count")?.number()? == count);
    }
    crate::process::signal(child.0.id(), "TERM")?;
    ensure!(said.any(|line| line.contains("stopped: ")), "it does not end");
    let status = child.0.wait()?;
    ensure!(status.code() == Some(0), "{status}");
    Ok(())
}

fn there_are_no_colours_but_on_a_terminal() -> Result<()> {
    let mut command = program(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("RUST_LOG", "debug").env_remove("NO_COLOR");
    let mut process = Process::spawn(command)?;
    process.line("serving on http://")?;
    let ended = process.terminate()?;
    ensure!(ended.stderr.contains(" INFO "), "{ended:?}");
    ensure!(
        !ended.stderr.contains('\x1b') && !ended.stdout.contains('\x1b'),
        "{ended:?}"
    );
    Ok(())
}

/// What keeps this machine from running [`TERMINAL_TESTS`].
pub(crate) fn lacking_terminal() -> Option<&'static str> {
    let script = Command::new("script").arg("--version").output();
    script.is_err().then_some("script is not installed")
}

fn on_a_terminal_there_are_colours_unless_nobody_wants_them() -> Result<()> {
    for (no_color, colours) in [("", true), ("1", false)] {
        let mut command = Command::new("script");
        let serve = format!("{} serve --listen 127.0.0.1:0", crate::process::PROGRAM);
        command.args(["--quiet", "--return", "--flush", "--command", &serve, "/dev/null"]);
        command.env("RUST_LOG", "platform=info").env("NO_COLOR", no_color);
        let mut child = Mute(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
        let mut said = crate::process::lines(child.0.stdout.take().context("its output is piped")?);
        let line = said
            .find(|line| line.contains("INFO"))
            .context("it logs nothing")?;
        ensure!(line.contains('\x1b') == colours, "NO_COLOR={no_color}: {line:?}");
    }
    Ok(())
}
