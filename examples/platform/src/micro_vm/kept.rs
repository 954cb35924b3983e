//! What the state directory holds of an instance: its state of an earlier run, and states that were put aside.

use std::path::Path;

use tracing::{info, warn};
use vmm_core::{DetachedStreams, Hypervisor};

use super::host::{Cause, MicroVmOptions};
use super::parked::{Origin, ParkedVm, SavedMemory, to_sections};
use super::template::{Template, fingerprint, save_options};
use crate::aside::{MOST_ASIDE, free_name, rename_aside};
use crate::causes::causes;

const INSTANCE_FILE: &str = "instance.snapshot";

/// The instance that an earlier run of the platform has kept, if it is still of use.
pub(super) fn open(hypervisor: &Hypervisor, options: &MicroVmOptions) -> Option<ParkedVm> {
    let path = options.dir.join(INSTANCE_FILE);
    if !options.keep || !path.exists() {
        return None;
    }
    if !path.is_file() {
        // A pipe would be waited for.
        rename_aside(&path, "it is not a file");
        return None;
    }
    let open = || -> Result<ParkedVm, Cause> {
        let template = Template::open(hypervisor, &options.vm, &options.kernel, &path)?;
        Ok(ParkedVm {
            memory: SavedMemory::from_snapshot(&template.snapshot)?,
            state: template.state,
            streams: DetachedStreams::default(),
            wakes: 0,
            origin: Origin::Kept,
        })
    };
    open()
        .inspect(|_| info!(path = %path.display(), "found the instance of an earlier run"))
        .inspect_err(|error| rename_aside(&path, &causes(&**error)))
        .ok()
}

/// Keeps `parked` for a later run.
pub(super) fn persist(
    hypervisor: &Hypervisor,
    options: &MicroVmOptions,
    parked: &ParkedVm,
) -> Result<(), Cause> {
    write(hypervisor, options, parked, &options.dir.join(INSTANCE_FILE))
}

/// Puts what an earlier run has kept aside, if it is there: the instance that went on from it has ended, or cannot.
pub(super) fn put_file_aside(options: &MicroVmOptions, why: &str) {
    let path = options.dir.join(INSTANCE_FILE);
    if options.keep && path.exists() {
        rename_aside(&path, why);
    }
}

/// Writes what an instance knew where somebody can look at it. Only with a state directory.
pub(super) fn put_state_aside(
    hypervisor: &Hypervisor,
    options: &MicroVmOptions,
    parked: &ParkedVm,
    why: &str,
) {
    let path = options.dir.join(INSTANCE_FILE);
    let Some(aside) = free_name(&path) else {
        let dir = options.dir.display();
        warn!(why, %dir, "the state of an instance is lost: {MOST_ASIDE} are aside already, remove those");
        return;
    };
    match write(hypervisor, options, parked, &aside) {
        Ok(()) => warn!(why, aside = %aside.display(), "the state of an instance is put aside"),
        Err(error) => {
            let error = causes(&*error);
            warn!(why, aside = %aside.display(), error, "the state of an instance cannot be put aside and is lost");
        }
    }
}

fn write(
    hypervisor: &Hypervisor,
    options: &MicroVmOptions,
    parked: &ParkedVm,
    path: &Path,
) -> Result<(), Cause> {
    let options = save_options(fingerprint(hypervisor, &options.vm, &options.kernel)?)?;
    let sections = to_sections(&parked.state)?;
    parked.memory.persist(path, &sections, options)?;
    Ok(())
}
