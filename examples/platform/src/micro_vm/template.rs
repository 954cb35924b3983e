//! The snapshot that new instances of a service start from: boot once, wait until the guest serves, save.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use snapshot::{Fingerprint, FingerprintError, Host, Overwrite, SaveOptions, Snapshot, SnapshotId};
use vmm_core::{
    BootError, GenerationId, Hypervisor, MARK_SERVING, SaveError, StateError, UserNetHandle, Vm, VmConfig,
    VmError, VmState, WaitError,
};

use super::parked::{FromSectionsError, from_sections, to_sections};

/// Pauses between two looks at whether a guest that serves has come to rest.
const SETTLE_STEP: Duration = Duration::from_millis(1);
/// Looks before a guest that never rests is saved as it is.
const SETTLE_LOOKS: u32 = 100;

/// A service's snapshot, with its state decoded.
#[derive(Debug)]
pub struct Template {
    pub(super) snapshot: Snapshot,
    pub(super) state: Arc<VmState>,
    /// From the first step of making the VM to the guest's word that it serves.
    pub boot: Duration,
}

/// A template could not be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The guest could not be booted.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The guest did not come to serve.
    #[error("{source}; it printed: {serial:?}")]
    NotServing {
        /// Why not.
        source: WaitError,
        /// The end of what the guest printed.
        serial: String,
    },
    /// The guest stopped while it was saved.
    #[error("save the guest that was just booted")]
    Stopped(#[from] VmError),
    /// The guest's state could not be taken.
    #[error(transparent)]
    State(#[from] SaveError),
    /// The state could not be encoded.
    #[error(transparent)]
    Encode(#[from] StateError),
    /// The snapshot could not be written.
    #[error(transparent)]
    Save(#[from] snapshot::SaveError),
    /// The snapshot could not be read.
    #[error(transparent)]
    Load(#[from] snapshot::LoadError),
    /// The snapshot holds no state of this version.
    #[error(transparent)]
    Decode(#[from] FromSectionsError),
    /// This host cannot run the snapshot, or it is of another kernel or configuration.
    #[error("snapshot {path}: {}", .mismatches.join("; "))]
    Mismatch {
        /// The file.
        path: String,
        /// Every reason.
        mismatches: Vec<String>,
    },
    /// What identifies host and guest does not fit a snapshot.
    #[error(transparent)]
    Fingerprint(#[from] FingerprintError),
    /// No thread could be started for the shells.
    #[error("start the thread that makes shells")]
    Thread(#[source] std::io::Error),
    /// The system gave no random bytes.
    #[error("draw random bytes for the snapshot's name")]
    Random(#[source] std::io::Error),
}

/// What a snapshot is only valid for: this kind of processor, this kernel, this configuration.
pub(super) fn fingerprint(
    hypervisor: &Hypervisor,
    config: &VmConfig,
    kernel: &[u8],
) -> Result<Fingerprint, FingerprintError> {
    let processor = hypervisor
        .processor()
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value));
    let guest = [
        (
            "guest.kernel_crc32".to_owned(),
            format!("{:#010x}", crc32fast::hash(kernel)),
        ),
        ("guest.cmdline".to_owned(), config.cmdline.clone()),
    ];
    let shape = config
        .shape()
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value));
    Fingerprint::from_pairs(processor.chain(shape).chain(guest))
}

/// Options for a snapshot that is only for `fingerprint`, replacing what is there.
pub(super) fn save_options<'a>(fingerprint: Fingerprint) -> Result<SaveOptions<'a>, TemplateError> {
    // Random like a generation id, and for the same reason: no two may be taken for one another.
    let id = GenerationId::random().map_err(TemplateError::Random)?;
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let created = u64::try_from(created.as_nanos()).unwrap_or(u64::MAX);
    Ok(SaveOptions::new(SnapshotId(id.0), created)
        .fingerprint(fingerprint)
        .overwrite(Overwrite::Replace))
}

/// Boots `kernel` and waits until it serves and rests.
pub(super) fn boot_until_serving(
    hypervisor: &Hypervisor,
    config: &VmConfig,
    kernel: &[u8],
    timeout: Duration,
) -> Result<(Vm, Duration), TemplateError> {
    let begun = Instant::now();
    let mut vm = Vm::boot(hypervisor, config, kernel)?;
    vm.start()?;
    let handle = vm.handle();
    let serving = handle
        .wait_mark(MARK_SERVING, timeout)
        .map_err(|source| TemplateError::NotServing {
            source,
            serial: handle.serial_text(),
        })?;
    let boot = serving.at.duration_since(begun);
    settle(&mut vm)?;
    Ok((vm, boot))
}

/// Lets the guest come to rest with its spare connections open: such a snapshot wakes quickest. One that never does is
/// saved as it is, which is just as right.
fn settle(vm: &mut Vm) -> Result<(), TemplateError> {
    let net = vm.net().cloned();
    if let Some(net) = &net {
        net.refill_spares();
    }
    for _ in 0..SETTLE_LOOKS {
        let paused = vm.pause()?;
        let rests = paused.is_quiet()? && net.as_ref().is_none_or(UserNetHandle::spares_ready);
        paused.resume()?;
        if rests {
            break;
        }
        std::thread::sleep(SETTLE_STEP);
    }
    Ok(())
}

impl Template {
    /// Boots `kernel`, waits until it serves, and saves it to `path`, replacing what is there.
    ///
    /// # Errors
    /// See [`TemplateError`].
    pub fn make(
        hypervisor: &Hypervisor,
        config: &VmConfig,
        kernel: &[u8],
        timeout: Duration,
        path: &Path,
    ) -> Result<Self, TemplateError> {
        let (mut vm, boot) = boot_until_serving(hypervisor, config, kernel, timeout)?;
        let paused = vm.pause()?;
        let state = paused.save()?;
        let options = save_options(fingerprint(hypervisor, config, kernel)?)?;
        snapshot::save(path, paused.memory(), &to_sections(&state)?, options)?;
        let snapshot = Snapshot::open(path)?;
        Ok(Self {
            snapshot,
            state: Arc::new(state),
            boot,
        })
    }

    /// Opens the snapshot at `path` if it is of this kernel and configuration and this host can run it.
    ///
    /// # Errors
    /// See [`TemplateError`]; the caller makes a new one then.
    pub fn open(
        hypervisor: &Hypervisor,
        config: &VmConfig,
        kernel: &[u8],
        path: &Path,
    ) -> Result<Self, TemplateError> {
        let snapshot = Snapshot::open(path)?;
        let host = Host::current(fingerprint(hypervisor, config, kernel)?);
        snapshot::check(snapshot.header(), &host).map_err(|mismatches| TemplateError::Mismatch {
            path: path.display().to_string(),
            mismatches: mismatches.iter().map(ToString::to_string).collect(),
        })?;
        let state = Arc::new(from_sections(snapshot.sections())?);
        hypervisor
            .check(&state)
            .map_err(|error| TemplateError::Mismatch {
                path: path.display().to_string(),
                mismatches: error.mismatches.iter().map(ToString::to_string).collect(),
            })?;
        Ok(Self {
            snapshot,
            state,
            boot: Duration::ZERO,
        })
    }
}
