//! The library's side: the same guest, restored with `vmm-core`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use vmm_core::{MARK_RESUMED, Shell, Template, Vm};

use crate::{Pieces, Subject};

/// A guest that has not run after this long will not.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A shell made ahead for this guest, off the clock.
///
/// # Errors
/// KVM refused a step.
pub fn shell(subject: &Subject) -> anyhow::Result<Shell> {
    let template = Template::from(Arc::clone(subject.state()));
    Ok(Shell::new(
        subject.hypervisor(),
        subject.vm_config(),
        Some(&template),
    )?)
}

/// Like [`shell`], with the pages touched that the guest will touch.
///
/// # Errors
/// KVM refused a step.
pub fn touched_shell(subject: &Subject) -> anyhow::Result<Shell> {
    let touched = subject.touched().to_vec();
    let template = Template {
        state: Arc::clone(subject.state()),
        touched,
    };
    Ok(Shell::new(
        subject.hypervisor(),
        subject.vm_config(),
        Some(&template),
    )?)
}

/// Copies the guest into `shell` and starts it: the time from the call to the arrival of mark 5. The VM is dropped off the clock.
///
/// # Errors
/// The guest was not restored, or did not run.
pub fn fill(subject: &Subject, shell: Shell) -> anyhow::Result<Pieces> {
    let saved = subject.restore()?;
    let begun = Instant::now();
    let shell = shell.fill(subject.compact().runs())?;
    let loaded = Instant::now();
    let vm = shell.restore(saved)?;
    let restored = Instant::now();
    Ok(Pieces::between(begun, loaded, restored, run_to_mark(&vm)?))
}

/// Restores the guest into `shell` and starts it, as [`Shell::adopt`] and [`Vm::start`] do: the time from the call to the
/// arrival of mark 5. The VM is dropped off the clock.
///
/// # Errors
/// The guest was not restored, or did not run.
pub fn adopt(subject: &Subject, shell: Shell) -> anyhow::Result<Pieces> {
    let saved = subject.restore()?;
    let begun = Instant::now();
    let shell = shell.load(subject.memory())?;
    let loaded = Instant::now();
    let vm = shell.restore(saved)?;
    let restored = Instant::now();
    Ok(Pieces::between(begun, loaded, restored, run_to_mark(&vm)?))
}

/// Restores the guest into a new VM and starts it: the time from the call to the arrival of mark 5. The VM is dropped off the
/// clock.
///
/// # Errors
/// The guest was not restored, or did not run.
pub fn restore(subject: &Subject) -> anyhow::Result<Pieces> {
    let saved = subject.restore()?;
    let begun = Instant::now();
    let vm = Vm::restore(subject.hypervisor(), subject.vm_config(), subject.memory(), saved)?;
    let restored = Instant::now();
    Ok(Pieces::between(begun, begun, restored, run_to_mark(&vm)?))
}

fn run_to_mark(vm: &Vm) -> anyhow::Result<Instant> {
    vm.start()?;
    Ok(vm.handle().wait_mark(MARK_RESUMED, TIMEOUT)?.at)
}
