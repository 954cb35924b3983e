//! What somebody is told who may not use KVM.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use vmm_core::{Capability, Hypervisor};

use crate::common::{Test, hypervisor};

pub(crate) const TESTS: &[Test] = &[
    ("capabilities_are_told", capabilities_are_told),
    (
        "a_user_without_permission_is_told_how_to_get_it",
        a_user_without_permission_is_told_how_to_get_it,
    ),
];

/// Names the device node for the child process.
const NODE: &str = "VMM_CORE_TEST_NODE";
/// An id of nobody in particular.
const NOBODY: u32 = 65_534;

fn capabilities_are_told() {
    let hypervisor = hypervisor();
    assert!(hypervisor.capabilities().max_vcpus >= 1);
    assert!(hypervisor.capabilities().max_memory_slots >= 2);
    assert_eq!(Capability::SyncRegs.to_string(), "KVM_CAP_SYNC_REGS");
    let [(_, vendor), (_, signature)] = hypervisor.processor();
    assert_eq!(vendor.len(), 12, "{vendor:?}");
    assert!(signature.starts_with("0x"), "{signature}");
}

pub(crate) fn is_child() -> bool {
    std::env::var_os(NODE).is_some()
}

/// Prints what opening the node comes to.
pub(crate) fn child() -> ExitCode {
    let node = std::env::var_os(NODE).unwrap_or_default();
    match Hypervisor::open_at(Path::new(&node)) {
        Ok(_) => println!("usable"),
        Err(error) => println!("{error}"),
    }
    ExitCode::SUCCESS
}

fn a_user_without_permission_is_told_how_to_get_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let node = dir.path().join("kvm");
    File::create(&node).unwrap();
    fs::set_permissions(&node, Permissions::from_mode(0o000)).unwrap();
    // Permissions do not bind root, so that another user has to try; and it may not reach the directory of this program.
    let program = dir.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut child = Command::new(&program);
    child.env(NODE, &node);
    if fs::metadata(&program).unwrap().permissions().mode() & 0o001 == 0 {
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    }
    let is_root = File::open(&node).is_ok();
    if is_root {
        child.uid(NOBODY).gid(NOBODY);
    }
    let output = child.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let path = node.display();
    assert!(
        said.starts_with(&format!("open {path}: permission denied")),
        "{said}"
    );
    assert!(said.contains("usermod -aG kvm"), "{said}");
}
