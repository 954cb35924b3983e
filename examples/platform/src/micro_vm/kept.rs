//! What the state directory holds of an instance: its state of an earlier run, and states that were put aside.

use std::path::{Path, PathBuf};

use tracing::{info, warn};
use vmm_core::{DetachedStreams, Hypervisor};

use super::host::{Cause, MicroVmOptions};
use super::parked::{Origin, ParkedVm, SavedMemory, to_sections};
use super::template::{Template, fingerprint, save_options};
use crate::causes::causes;

const INSTANCE_FILE: &str = "instance.snapshot";
/// States that are put aside of each kind; more would fill the disk with what nobody looks at.
const MOST_ASIDE: u32 = 16;

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

/// Puts a file aside that is of no use here, but may be elsewhere. When too many are aside already it replaces the last of them.
pub(super) fn rename_aside(path: &Path, why: &str) {
    let aside = free_name(path).unwrap_or_else(|| name(path, MOST_ASIDE));
    match std::fs::rename(path, &aside) {
        Ok(()) => warn!(
            path = %path.display(),
            reason = why,
            aside = %aside.display(),
            "a saved state is of no use here and is put aside"
        ),
        Err(error) => warn!(
            path = %path.display(),
            reason = why,
            %error,
            "a saved state is of no use here, and cannot be put aside: it will be replaced"
        ),
    }
}

/// The first free name for `path` put aside.
fn free_name(path: &Path) -> Option<PathBuf> {
    (1..=MOST_ASIDE)
        .map(|number| name(path, number))
        .find(|aside| !aside.exists())
}

fn name(path: &Path, number: u32) -> PathBuf {
    path.with_extension(format!("unused-{number}"))
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
