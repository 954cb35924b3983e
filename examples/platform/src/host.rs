//! Where instances live, as the controller sees it. Today a micro-VM in this process; a jailed worker process later.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use scheduler::InstanceId;
use tokio::sync::oneshot;

use crate::causes::causes;

/// Makes instances of one service run, and parks them.
///
/// The controller calls it with one command at a time for each instance, and never twice at once for the same one.
pub trait InstanceHost: Send + Sync + 'static {
    /// Makes `instance` run again from its own saved state or, when it is new, from the service's snapshot. Called on the
    /// wake path: at most some hundred microseconds.
    ///
    /// # Errors
    /// [`HostError::fate`] says whether the instance is gone, or may be tried again.
    fn restore(&self, instance: InstanceId) -> Result<Started, HostError>;

    /// Boots the service's image as `instance` and waits until it serves. Blocks for as long as that takes.
    ///
    /// # Errors
    /// The instance is gone.
    fn boot(&self, instance: InstanceId) -> Result<Started, HostError>;

    /// Puts a running instance to sleep if it is quiet, or as it is if `mode` says so. No client waits for an answer of it. Blocks
    /// for as long as it takes to copy what it has written.
    ///
    /// # Errors
    /// The instance is gone.
    fn park(&self, instance: InstanceId, mode: ParkMode) -> Result<Parked, HostError>;

    /// Ends an instance: it has died, or is not wanted any more. What it had saved is not used again, but a host that keeps
    /// state may [put it aside](Self::put_aside). No effect when there is none. Others wait meanwhile: at most some hundred
    /// microseconds.
    fn stop(&self, instance: InstanceId);

    /// Ends an instance that runs but does not answer. Like [`stop`](Self::stop), and what it knows now may be put aside as well;
    /// if it `NeverAnswered`, what it was started from may be the reason. As short as [`stop`](Self::stop).
    fn give_up(&self, instance: InstanceId, verdict: Verdict);

    /// Writes down, where somebody can look at it, what was known by instances that have ended since the last call: those that
    /// were stopped or given up, or could not be restored. Blocks for as long as that takes. The controller calls it after each
    /// end, on a thread where nobody waits; also twice at once, and while other instances start, run and end.
    fn put_aside(&self) {}

    /// Puts every instance to sleep, quiet or not, and keeps its state beyond the end of this process if the host is made to.
    /// Nothing is started afterwards. Says how many were kept.
    ///
    /// # Errors
    /// A state could not be saved and is lost with the process.
    fn shut_down(&self) -> Result<usize, HostError>;
}

/// A running instance.
#[derive(Debug)]
pub struct Started {
    /// The way to its port.
    pub link: Arc<dyn GuestLink>,
    /// Tells why when the instance dies; ends without a word when it is put to sleep or stopped.
    pub died: oneshot::Receiver<String>,
    /// How long mapping its memory took.
    pub load: Duration,
    /// How long setting its state took.
    pub restore: Duration,
}

/// Whom [`InstanceHost::park`] lets run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkMode {
    /// Who is in the midst of something.
    IfQuiet,
    /// Nobody. One that is in the midst of something is saved there, and goes on there when it is restored.
    AsItIs,
}

/// What came of parking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parked {
    /// It sleeps.
    Asleep {
        /// Bytes of memory that were written to save it: what had changed since it woke, or all of a small one.
        written_bytes: u64,
        /// Bytes that its saved state takes.
        saved_bytes: u64,
        /// It was in the midst of something, which only [`ParkMode::AsItIs`] allows.
        midway: bool,
    },
    /// It was not quiet and runs on.
    Busy,
}

/// What is known of an instance that runs but does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It, or one started from the same, has answered before.
    Wedged,
    /// It has not answered since it was started.
    NeverAnswered {
        /// Instances of the service, this one included, that did not, one after the other.
        in_a_row: u32,
    },
}

/// A way to the port a guest serves on.
pub trait GuestLink: std::fmt::Debug + Send + Sync {
    /// Opens a connection. Does not wait for the guest: bytes written before it has accepted are held.
    ///
    /// # Errors
    /// The guest is gone, or has too many connections.
    fn connect(&self) -> io::Result<UnixStream>;
}

/// What has become of an instance for which something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is gone, with what it had saved.
    Lost,
    /// It sleeps as before: what was missing may be there the next time.
    Kept,
}

/// An instance could not be started, parked or kept.
#[derive(Debug, thiserror::Error)]
#[error("{what} instance {instance}")]
pub struct HostError {
    /// What was being done.
    pub what: &'static str,
    /// The instance.
    pub instance: InstanceId,
    /// What has become of it.
    pub fate: Fate,
    /// Why not.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl HostError {
    pub(crate) fn new(
        what: &'static str,
        instance: InstanceId,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            what,
            instance,
            fate: Fate::Lost,
            source: source.into(),
        }
    }

    /// The same error, of an instance that is as it was before.
    pub(crate) fn kept(self) -> Self {
        Self {
            fate: Fate::Kept,
            ..self
        }
    }

    /// All causes in one line, outermost first.
    #[must_use]
    pub fn report(&self) -> String {
        causes(self)
    }
}
