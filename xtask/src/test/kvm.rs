//! Whether this host can run micro-VMs, and what to do if not.

use std::fs::OpenOptions;
use std::io;

use anyhow::Result;

use super::step::Outcome;
use crate::workspace::Workspace;

const DEVICE: &str = "/dev/kvm";

/// How much the caller counts on KVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demand {
    /// A developer's machine: without KVM its tests are skipped.
    Wish,
    /// CI: a device that is there must work.
    UsableIfThere,
    /// `REQUIRE_KVM=1`: it must be there and work.
    Required,
}

pub(crate) fn step(_: &Workspace) -> Result<Outcome> {
    let demand = match (is_set("REQUIRE_KVM"), is_set("CI")) {
        (true, _) => Demand::Required,
        (false, true) => Demand::UsableIfThere,
        (false, false) => Demand::Wish,
    };
    Ok(judge(&open(), demand))
}

/// What keeps KVM tests from running, and what to do about it; none if they can.
pub(crate) fn lack() -> Option<String> {
    open().err().map(|error| advice(&error))
}

fn open() -> io::Result<()> {
    OpenOptions::new().read(true).write(true).open(DEVICE).map(drop)
}

fn judge(opened: &io::Result<()>, demand: Demand) -> Outcome {
    let Err(error) = opened else {
        return Outcome::passed(format!("{DEVICE} can be opened"));
    };
    match demand {
        Demand::Required => Outcome::failed(advice(error)),
        Demand::UsableIfThere if error.kind() != io::ErrorKind::NotFound => Outcome::failed(advice(error)),
        Demand::UsableIfThere | Demand::Wish => Outcome::skipped(advice(error)),
    }
}

fn advice(error: &io::Error) -> String {
    let todo = match error.kind() {
        io::ErrorKind::NotFound => {
            "load the module (`sudo modprobe kvm_intel` or `kvm_amd`); in a VM, have its host turn on nested \
             virtualisation; in a container, pass the device in (`--device /dev/kvm`)"
        }
        io::ErrorKind::PermissionDenied => "`sudo usermod -aG kvm \"$USER\"`, then log in again",
        _ => "the device node is there but no driver behind it answers: see `dmesg | grep -i kvm`",
    };
    format!("open {DEVICE} for reading and writing: {error}. {todo}")
}

/// Whether an environment variable says yes.
fn is_set(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

#[cfg(test)]
mod tests {
    use super::super::step::Verdict;
    use super::*;

    fn verdict(kind: io::ErrorKind, demand: Demand) -> Verdict {
        judge(&Err(kind.into()), demand).verdict
    }

    #[test]
    fn an_absent_device_fails_only_where_it_is_required() {
        assert_eq!(verdict(io::ErrorKind::NotFound, Demand::Wish), Verdict::Skipped);
        assert_eq!(
            verdict(io::ErrorKind::NotFound, Demand::UsableIfThere),
            Verdict::Skipped
        );
        assert_eq!(
            verdict(io::ErrorKind::NotFound, Demand::Required),
            Verdict::Failed
        );
    }

    #[test]
    fn a_device_that_cannot_be_opened_fails_in_ci() {
        assert_eq!(
            verdict(io::ErrorKind::PermissionDenied, Demand::Wish),
            Verdict::Skipped
        );
        assert_eq!(
            verdict(io::ErrorKind::PermissionDenied, Demand::UsableIfThere),
            Verdict::Failed
        );
        assert_eq!(
            verdict(io::ErrorKind::PermissionDenied, Demand::Required),
            Verdict::Failed
        );
    }

    #[test]
    fn the_advice_fits_the_cause() {
        assert!(advice(&io::ErrorKind::NotFound.into()).contains("modprobe"));
        assert!(advice(&io::ErrorKind::PermissionDenied.into()).contains("usermod -aG kvm"));
    }
}
