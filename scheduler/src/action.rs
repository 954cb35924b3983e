use core::fmt;
use core::time::Duration;

use crate::ids::{ActionId, Epoch, InstanceId, NodeId, RequestId, ServiceId};
use crate::reason::Reason;
use crate::units::Span;

/// One decision: what the owner is to do, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// Number of this action; greater than that of every earlier one.
    pub id: ActionId,
    /// The service it is about.
    pub service: ServiceId,
    /// What to do.
    pub command: Command,
    /// Why, with the numbers that decided it.
    pub reason: Reason,
}

/// What the owner is to do. Doing it twice must be the same as doing it once: lifecycle commands are identified by
/// (`instance`, `epoch`), the others by their request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Make the instance run. Answer: `InstanceReady`, `InstanceFailed` or `InstanceExited`.
    Start {
        /// A new instance, or a parked one that is to go on.
        instance: InstanceId,
        /// Epoch of this command.
        epoch: Epoch,
        /// From what.
        kind: StartKind,
        /// Where. A parked instance starts on the node where it sleeps.
        node: NodeId,
    },
    /// Quiesce the instance, then put it to sleep. Answer: `InstanceParked`; or `ParkRefused` if it was not quiet
    /// after all and still runs; or `InstanceExited`.
    ///
    /// One that sleeps already is put deeper asleep: `InstanceParked`, or `ParkRefused` if it stays where it was. A
    /// `Start` may follow before the answer, which then is not wanted any more.
    Park {
        /// An instance without requests in flight, running or asleep at a shallower level.
        instance: InstanceId,
        /// Epoch of this command.
        epoch: Epoch,
        /// How deeply.
        level: ParkLevel,
    },
    /// End the instance and drop its saved state. Answer: `InstanceExited`.
    Stop {
        /// An instance without requests in flight.
        instance: InstanceId,
        /// Epoch of this command.
        epoch: Epoch,
    },
    /// Forward the request to the instance. Answer: `RequestDone` when it ended, however it ended.
    Admit {
        /// The request that waited.
        request: RequestId,
        /// A running instance.
        instance: InstanceId,
        /// Epoch in which the instance runs.
        epoch: Epoch,
    },
    /// Refuse the request. It is forgotten: no answer.
    Shed {
        /// The request to refuse.
        request: RequestId,
        /// When trying again may help.
        retry_after: Duration,
    },
}

/// What an instance is started from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartKind {
    /// A parked instance: its own saved state. A new one: the snapshot of the service.
    Restore,
    /// The service's image.
    Boot,
    /// Another instance of the service, as it is now: it runs on, the new one goes on from the same state.
    Clone {
        /// The one to clone. It may have ended meanwhile: `InstanceFailed`.
        of: InstanceId,
    },
}

/// How deeply a parked instance sleeps, the deeper the greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ParkLevel {
    /// Its vCPUs stand still, all its memory is resident.
    Paused,
    /// Saved state in host memory: quickest to wake.
    #[default]
    Ram,
    /// Saved state on disk: no host memory.
    Disk,
}

impl Command {
    /// The instance that is started, parked or stopped; `None` for what concerns one request.
    pub fn lifecycle_of(&self) -> Option<(InstanceId, Epoch)> {
        match *self {
            Self::Start { instance, epoch, .. }
            | Self::Park { instance, epoch, .. }
            | Self::Stop { instance, epoch } => Some((instance, epoch)),
            Self::Admit { .. } | Self::Shed { .. } => None,
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start {
                instance,
                kind: StartKind::Restore,
                ..
            } => write!(f, "restore instance {instance}"),
            Self::Start {
                instance,
                kind: StartKind::Boot,
                ..
            } => write!(f, "boot instance {instance}"),
            Self::Start {
                instance,
                kind: StartKind::Clone { of },
                ..
            } => write!(f, "clone instance {instance} of {of}"),
            Self::Park {
                instance,
                level: ParkLevel::Paused,
                ..
            } => write!(f, "pause instance {instance}"),
            Self::Park {
                instance,
                level: ParkLevel::Ram,
                ..
            } => write!(f, "park instance {instance} in RAM"),
            Self::Park {
                instance,
                level: ParkLevel::Disk,
                ..
            } => write!(f, "park instance {instance} on disk"),
            Self::Stop { instance, .. } => write!(f, "stop instance {instance}"),
            Self::Admit {
                request, instance, ..
            } => write!(f, "admit request {request} to instance {instance}"),
            Self::Shed { request, retry_after } => {
                write!(f, "shed request {request}, retry after {}", Span(*retry_after))
            }
        }
    }
}

/// One line for a log or a dashboard: `park instance 3 in RAM: idle 12 ms, cooldown 10 ms`.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.command, self.reason)
    }
}
