//! One QEMU microvm with the guest in it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

pub(crate) const QEMU: &str = "qemu-system-x86_64";
const MONITOR: &str = "monitor";
/// For anything that takes milliseconds on an idle machine; emulation on a busy one can take long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Machine {
    child: Child,
    serial: Receiver<String>,
    /// Holds the monitor's socket.
    directory: TempDir,
    /// What reaches the guest's port 80.
    pub(crate) address: SocketAddr,
}

impl Machine {
    /// Boots the guest and waits until it says that it serves.
    pub(crate) fn boot() -> Result<Self> {
        // The port is free when QEMU is told of it; whoever takes it in between makes the test fail, not pass.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let directory = tempfile::tempdir().context("make a directory for the monitor's socket")?;
        let mut child = Command::new(QEMU)
            .args([
                "-M",
                "microvm,acpi=off",
                "-accel",
                "tcg",
                "-m",
                "64",
                "-nodefaults",
                "-no-user-config",
            ])
            .args([
                "-display",
                "none",
                "-serial",
                "stdio",
                "-no-reboot",
                "-kernel",
                guest::ELF_PATH,
            ])
            .args([
                "-global",
                "virtio-mmio.force-legacy=false",
                "-device",
                "virtio-net-device,netdev=net",
            ])
            .arg("-netdev")
            .arg(format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-:80"))
            .arg("-monitor")
            .arg(format!(
                "unix:{},server=on,wait=off",
                directory.path().join(MONITOR).display()
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start QEMU")?;
        let output = child.stdout.take().context("QEMU's output is piped")?;
        let (lines, serial) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let machine = Self {
            child,
            serial,
            directory,
            address,
        };
        match machine.serial.recv_timeout(PATIENCE) {
            Ok(line) if line.trim_end() == "serving on port 80" => Ok(machine),
            other => bail!("the guest says {other:?} where it should say that it serves"),
        }
    }

    /// Asks QEMU's monitor again and again until its answer to `command` has `wanted`; returns that answer.
    pub(crate) fn watch(&self, command: &str, wanted: &str) -> Result<String> {
        let mut monitor =
            UnixStream::connect(self.directory.path().join(MONITOR)).context("open the monitor")?;
        monitor.set_read_timeout(Some(PATIENCE))?;
        prompt(&mut monitor)?;
        let started = Instant::now();
        loop {
            monitor.write_all(format!("{command}\n").as_bytes())?;
            let answer = prompt(&mut monitor)?;
            if answer.contains(wanted) {
                return Ok(answer);
            }
            ensure!(started.elapsed() < PATIENCE, "no {wanted} in {answer}");
        }
    }

    /// Waits until QEMU has ended; its serial line ends with it.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        loop {
            match self.serial.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().context("wait for QEMU"),
                Err(RecvTimeoutError::Timeout) => bail!("QEMU still runs"),
            }
        }
    }
}

/// Reads up to the monitor's next prompt.
fn prompt(monitor: &mut UnixStream) -> Result<String> {
    let mut answer = Vec::new();
    while !answer.ends_with(b"(qemu) ") {
        let mut byte = [0];
        monitor.read_exact(&mut byte).context("read from the monitor")?;
        answer.extend_from_slice(&byte);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
