//! One QEMU microvm with the guest in it.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub(crate) const QEMU: &str = "qemu-system-x86_64";
/// For anything that takes milliseconds on an idle machine; emulation on a busy one can take long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Machine {
    child: Child,
    serial: Receiver<String>,
    /// What reaches the guest's port 80.
    pub(crate) address: SocketAddr,
}

impl Machine {
    /// Boots the guest and waits until it says that it serves.
    pub(crate) fn boot() -> Result<Self> {
        // The port is free when QEMU is told of it; whoever takes it in between makes the test fail, not pass.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
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
        let machine = Self {
            child,
            serial,
            address: (Ipv4Addr::LOCALHOST, port).into(),
        };
        match machine.serial.recv_timeout(PATIENCE) {
            Ok(line) if line.trim_end() == "serving on port 80" => Ok(machine),
            other => bail!("the guest says {other:?} where it should say that it serves"),
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

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
