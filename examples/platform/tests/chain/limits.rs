//! What a program says that may not use KVM.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::Test;
use crate::process::{PROGRAM, Process};

pub(crate) const TESTS: &[Test] = &[(
    "limits::without_permission_on_kvm_it_says_what_is_missing",
    without_permission_on_kvm_it_says_what_is_missing,
)];

/// Somebody who may do nothing.
const NOBODY: &str = "65534";

/// What keeps this machine from running these tests.
pub(crate) fn lacking() -> Option<&'static str> {
    let root = fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0);
    let kvm = fs::metadata("/dev/kvm").map(|device| device.permissions().mode());
    match kvm {
        Err(_) => Some("there is no /dev/kvm"),
        Ok(mode) if mode & 0o006 != 0 => Some("everybody may use /dev/kvm"),
        Ok(_) if !root => Some("only root can become somebody else"),
        Ok(_) if Command::new("setpriv").arg("--version").output().is_err() => {
            Some("setpriv is not installed")
        }
        Ok(_) => None,
    }
}

fn without_permission_on_kvm_it_says_what_is_missing() -> Result<()> {
    // Where the build puts it others may not read.
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let copy = dir.path().join("platform");
    fs::copy(PROGRAM, &copy)?;
    for verb in ["serve", "demo"] {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
            .arg(&copy)
            .arg(verb);
        let ended = Process::spawn(command)?.end()?;
        ensure!(ended.code == Some(1), "{ended:?}");
        for part in ["error: open /dev/kvm: permission denied", "usermod -aG kvm"] {
            ensure!(ended.stderr.contains(part), "no {part:?} in {ended:?}");
        }
    }
    Ok(())
}
