//! The snapshot that new instances of a service start from: boot once, wait until the guest serves, save.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use snapshot::{Fingerprint, FingerprintError, Host, Overwrite, SaveOptions, Snapshot, SnapshotId};
use vmm_core::{
    BootError, GenerationId, Hypervisor, MARK_SERVING, Mark, Paused, SaveError, SettleError, StateError, Vm,
    VmConfig, VmError, VmHandle, VmState, WaitError,
};

use super::parked::{FromSectionsError, from_sections, to_sections};

/// A guest that has not come to rest so long after it began to serve is saved as it is, which is just as right.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(100);

/// So much of what a guest has printed is told in an error.
const LAST_WORDS_CHARS: usize = 400;

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
    #[error("{}; {}", not_serving(.wait), last_words(.serial))]
    NotServing {
        /// Why not.
        wait: WaitError,
        /// What the guest printed.
        serial: String,
    },
    /// The guest stopped while it was saved.
    #[error("save the guest that was just booted")]
    Stopped(#[from] VmError),
    /// The guest could not be waited for.
    #[error("wait until the guest that was just booted rests")]
    Settle(#[from] SettleError),
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

/// What a snapshot is only valid for: processors of this vendor, this kernel, this configuration. Whether a processor has what
/// the guest was told of, [`Hypervisor::check`] says: a newer model has.
pub(super) fn fingerprint(
    hypervisor: &Hypervisor,
    config: &VmConfig,
    kernel: &[u8],
) -> Result<Fingerprint, FingerprintError> {
    let [(key, vendor), _signature] = hypervisor.processor();
    let processor = [(key.to_owned(), vendor)].into_iter();
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
    let boot = wait_until_serving(&vm.handle(), timeout)?
        .at
        .duration_since(begun);
    // With its spare connections open and nothing to do: such a snapshot wakes quickest.
    vm.settle(SETTLE_TIMEOUT)?;
    Ok((vm, boot))
}

/// Waits for the guest's word that it serves.
pub(crate) fn wait_until_serving(handle: &VmHandle, timeout: Duration) -> Result<Mark, TemplateError> {
    handle
        .wait_mark(MARK_SERVING, timeout)
        .map_err(|wait| TemplateError::NotServing {
            wait,
            serial: handle.serial_text(),
        })
}

/// What it means that the mark did not come, for people who have never heard of marks.
fn not_serving(wait: &WaitError) -> String {
    let serves = format!("say that it serves (boot mark {MARK_SERVING} of docs/guest-abi.md)");
    match wait {
        WaitError::TimedOut { timeout, .. } => {
            format!(
                "the guest did not {serves} within {} ms",
                grouped(timeout.as_millis())
            )
        }
        WaitError::Stopped { reason, .. } => format!("the guest stopped and did not {serves}: {reason}"),
        other => format!("the guest did not {serves}: {other}"),
    }
}

/// The end of what a guest has printed, escaped.
fn last_words(serial: &str) -> String {
    if serial.is_empty() {
        return "it has printed nothing on its serial port".to_owned();
    }
    let cut = serial
        .char_indices()
        .rev()
        .nth(LAST_WORDS_CHARS)
        .map_or(0, |(at, _)| at);
    format!(
        "its last serial output: {:?}",
        serial.get(cut..).unwrap_or_default()
    )
}

/// A number with commas between its thousands.
fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
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
        Self::take(hypervisor, config, kernel, &mut vm, boot, path)
    }

    /// Saves a VM that was booted from `kernel` in `boot` and serves to `path`, replacing what is there. The VM goes on.
    pub(super) fn take(
        hypervisor: &Hypervisor,
        config: &VmConfig,
        kernel: &[u8],
        vm: &mut Vm,
        boot: Duration,
        path: &Path,
    ) -> Result<Self, TemplateError> {
        let options = save_options(fingerprint(hypervisor, config, kernel)?)?;
        let paused = vm.pause()?;
        let saved = Self::write(&paused, options, path);
        // Whatever came of that: it may have been booted for somebody.
        paused.resume()?;
        let state = Arc::new(saved?);
        let snapshot = Snapshot::open(path)?;
        Ok(Self {
            snapshot,
            state,
            boot,
        })
    }

    fn write(paused: &Paused<'_>, options: SaveOptions<'_>, path: &Path) -> Result<VmState, TemplateError> {
        let state = paused.save()?;
        snapshot::save(path, paused.memory(), &to_sections(&state)?, options)?;
        Ok(state)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_does_not_serve_is_told_of_in_words() {
        let timed_out = WaitError::TimedOut {
            number: MARK_SERVING,
            timeout: Duration::from_secs(30),
        };
        let error = TemplateError::NotServing {
            wait: timed_out,
            serial: "no root device\n".to_owned(),
        };
        assert_eq!(
            error.to_string(),
            "the guest did not say that it serves (boot mark 4 of docs/guest-abi.md) within 30,000 ms; \
             its last serial output: \"no root device\\n\""
        );
    }

    #[test]
    fn last_words_are_the_last_and_few() {
        let words = last_words(&format!("first{}last", "\u{e4}".repeat(2 * LAST_WORDS_CHARS)));
        assert!(words.ends_with("last\"") && !words.contains("first"), "{words}");
        assert!(words.chars().count() < LAST_WORDS_CHARS + 50, "{words}");
        assert!(last_words("").contains("nothing"));
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(
            [0, 999, 1_000, 12_345_678].map(grouped),
            ["0", "999", "1,000", "12,345,678"]
        );
    }
}
