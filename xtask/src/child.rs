//! Runs one command: its output goes to the screen as it comes, is kept, and its time is limited.

use std::io::{self, IsTerminal, PipeReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How often a silent command is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Why it does not count as a success; none if it does.
    pub(crate) failure: Option<String>,
    /// Standard output and standard error in the order they were written.
    pub(crate) output: String,
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    let envs = command.get_envs().filter_map(|(name, value)| {
        let value = value?.to_string_lossy();
        Some(format!("{}='{value}'", name.to_string_lossy()))
    });
    let words = std::iter::once(program)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned());
    envs.chain(words).collect::<Vec<_>>().join(" ")
}

/// Whether the command can be started and succeeds; its output is dropped.
pub(crate) fn succeeds(mut command: Command) -> bool {
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs the command to its end, or for at most `limit`: then it and what it started is killed.
///
/// # Errors
/// If the command cannot be started or `screen` takes no more. A command that fails is no error.
pub(crate) fn run(mut command: Command, limit: Duration, screen: &mut dyn Write) -> Result<Finished> {
    let shown = shown(&command);
    writeln!(screen, "$ {shown}").context("write to the screen")?;
    if io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let (reader, writer) = io::pipe().context("create a pipe")?;
    let errors = writer.try_clone().context("clone the write end of a pipe")?;
    command.stdin(Stdio::null()).stdout(writer).stderr(errors);
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("start `{shown}`"))?;
    // The command owns our write ends: without them, the pipe ends with the last process that writes to it.
    drop(command);

    let (sender, chunks) = sync_channel(16);
    // Not joined: a process left behind by the command may keep the pipe open for ever.
    thread::Builder::new()
        .name("tee".into())
        .spawn(move || forward(reader, &sender))
        .context("start a thread")?;

    let mut kept = Vec::new();
    let mut failure = None;
    loop {
        match chunks.recv_timeout(LOOK) {
            Ok(chunk) => {
                screen.write_all(&chunk).context("write to the screen")?;
                screen.flush().context("write to the screen")?;
                kept.extend_from_slice(&chunk);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                if child.try_wait().context("wait for a child")?.is_some() {
                    failure = Some(format!("`{shown}` has ended but left a process behind"));
                    break;
                }
            }
        }
        if started.elapsed() > limit {
            failure = Some(format!("`{shown}` was killed after {} s", limit.as_secs()));
            kill_tree(&mut child);
            break;
        }
    }
    let status = child.wait().with_context(|| format!("wait for `{shown}`"))?;
    if failure.is_none() && !status.success() {
        failure = Some(format!("`{shown}`: {status}"));
    }
    Ok(Finished {
        failure,
        output: String::from_utf8_lossy(&kept).into_owned(),
    })
}

/// Sends on what can be read until the end, an error, or nobody listens.
fn forward(mut reader: PipeReader, sender: &SyncSender<Vec<u8>>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(len_bytes @ 1..) = reader.read(&mut buffer) {
        let chunk = buffer.get(..len_bytes).unwrap_or_default().to_vec();
        if sender.send(chunk).is_err() {
            break;
        }
    }
}

/// Kills a child and all its descendants: cargo does not pass a signal on to the test that hangs.
fn kill_tree(child: &mut Child) {
    let mut doomed = vec![child.id()];
    let processes = processes();
    let mut next = 0;
    while let Some(&parent) = doomed.get(next) {
        doomed.extend(
            processes
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    let pids: Vec<_> = doomed.iter().map(u32::to_string).collect();
    let mut kill = Command::new("sh");
    kill.args(["-c", "kill -KILL \"$@\"", "sh"]).args(pids);
    // A process of the list may have ended meanwhile; then `kill` complains but has killed the others.
    let _ = succeeds(kill);
}

/// Every process of this machine with its parent.
fn processes() -> Vec<(u32, u32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let stats = entries
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter_map(|stat| pid_and_parent(&stat)).collect()
}

/// The first and fourth field of `/proc/<pid>/stat`; the second, a name in brackets, may hold anything (proc(5)).
fn pid_and_parent(stat: &str) -> Option<(u32, u32)> {
    let (pid, rest) = stat.split_once(" (")?;
    let (_, rest) = rest.rsplit_once(") ")?;
    Some((pid.parse().ok()?, rest.split(' ').nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn both_outputs_are_shown_and_kept_in_order() {
        let mut screen = Vec::new();
        let finished = run(
            sh("echo one; echo two >&2; echo three"),
            Duration::MAX,
            &mut screen,
        )
        .unwrap();
        assert_eq!(finished.output, "one\ntwo\nthree\n");
        assert!(screen.ends_with(b"\none\ntwo\nthree\n"), "{screen:?}");
        assert_eq!(finished.failure, None);
    }

    #[test]
    fn a_failing_command_is_named_with_its_status() {
        let finished = run(sh("exit 3"), Duration::MAX, &mut io::sink()).unwrap();
        assert_eq!(finished.failure.unwrap(), "`sh -c exit 3`: exit status: 3");
    }

    #[test]
    fn a_hanging_command_is_killed() {
        let finished = run(sh("sleep 1000"), Duration::ZERO, &mut io::sink()).unwrap();
        assert_eq!(
            finished.failure.unwrap(),
            "`sh -c sleep 1000` was killed after 0 s"
        );
    }

    #[test]
    fn descendants_are_killed_with_their_ancestor() {
        let mut child = sh("sleep 1000 & echo up; wait")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        output.read_exact(&mut [0; 3]).unwrap();

        kill_tree(&mut child);

        child.wait().unwrap();
        // Ends when the last process that could write to the pipe is gone: the `sleep`.
        assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0);
    }

    #[test]
    fn a_command_is_shown_as_one_types_it() {
        let mut command = Command::new("/usr/bin/cargo");
        command
            .args(["doc", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(shown(&command), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
    }

    #[test]
    fn the_parent_is_found_behind_any_process_name() {
        assert_eq!(pid_and_parent("12 (a) S 9 (b) R 3 12 12 0 -1"), Some((12, 3)));
        assert_eq!(pid_and_parent("12 (cat"), None);
    }
}
