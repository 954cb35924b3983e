use core::fmt;
use core::time::Duration;

use crate::ids::{ActionId, ConnectionId, InstanceId, NodeId};
use crate::policy::{Basis, Rhythm};
use crate::scale::CountBasis;
use crate::units::{Bytes, Count, Span};

/// Why something was decided, with the numbers that decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Start: requests wait and neither a free slot nor an instance on its way has room for them.
    RequestsWaiting {
        /// Requests waiting.
        waiting: u32,
        /// Instances running.
        awake: u32,
        /// Most instances the service may have.
        max_instances: u32,
    },
    /// Start: a connection of the sleeping instance has bytes again.
    ConnectionActive {
        /// The lowest numbered one that has.
        connection: ConnectionId,
    },
    /// Start: fewer instances are awake than the service is to have.
    BelowMin {
        /// Instances running or starting.
        awake: u32,
        /// Instances that are to be awake always.
        min_instances: u32,
    },
    /// Start: fewer instances are awake than were computed to be needed.
    BelowCount {
        /// Instances running or starting.
        awake: u32,
        /// Instances that are to be awake.
        wanted: u32,
        /// The numbers behind that.
        basis: CountBasis,
    },
    /// Start: every instance that runs or starts has as many requests as it is meant to have.
    AboveSoft {
        /// Requests waiting or in flight.
        requests: u64,
        /// Instances running or starting.
        awake: u32,
        /// Requests that each is meant to have.
        soft_concurrency: u32,
    },
    /// Park: more instances are awake than were computed to be needed.
    AboveCount {
        /// Instances running.
        awake: u32,
        /// Instances that are to be awake.
        wanted: u32,
        /// The numbers behind that.
        basis: CountBasis,
    },
    /// Start: a clone failed or took too long, so an instance is booted instead, once.
    CloneFailed {
        /// The instance that could not be made.
        failed: InstanceId,
        /// The one it was to be a clone of.
        of: InstanceId,
    },
    /// Start: a restore failed or took too long, so an instance is booted instead, once.
    RestoreFailed {
        /// The instance that could not be restored; its state is lost.
        failed: InstanceId,
    },
    /// Start: another attempt after failures.
    Retry {
        /// Which attempt in a row this is, from 2.
        attempt: u32,
        /// Requests waiting.
        waiting: u32,
    },
    /// Park or stop: nothing happened for as long as the policy waits, or the owner refused that so long ago.
    IdleFor {
        /// Time since the last activity, or since the owner refused.
        idle: Duration,
        /// When this had been planned.
        cooldown: Duration,
        /// The numbers behind that.
        basis: Basis,
    },
    /// Start: somebody is expected.
    Prewake {
        /// How long it is kept awake for them.
        hold: Duration,
        /// Why somebody is expected.
        rhythm: Rhythm,
    },
    /// Park: memory is short on the node of an instance that sleeps in RAM, so it sleeps on disk.
    MemoryShort {
        /// Where.
        node: NodeId,
        /// What becomes free.
        bytes: u64,
    },
    /// Stop: the service may no longer have so many instances.
    OverMax {
        /// Instances there are.
        instances: u32,
        /// Most instances the service may have.
        max_instances: u32,
    },
    /// Stop: the start was not answered in time.
    StartTimedOut {
        /// How long it was waited for.
        after: Duration,
    },
    /// Stop: the instance was ended before, or belongs to no service.
    NotWanted,
    /// Stop or shed: the service was removed.
    ServiceRemoved,
    /// Admit: the instance has a free slot.
    SlotFree {
        /// How long the request waited for it.
        waited: Duration,
        /// Requests in flight on the instance, this one included.
        in_flight: u32,
        /// Most requests in flight on an instance; `u32::MAX` is no limit.
        concurrency: u32,
    },
    /// Shed: as many requests wait as may.
    QueueFull {
        /// Requests waiting.
        waiting: u32,
        /// Most that may.
        max_waiting: u32,
    },
    /// Shed: the request waited as long as it may.
    WaitedTooLong {
        /// How long it waited.
        waited: Duration,
        /// How long it may.
        max_wait: Duration,
    },
    /// Shed: no instance could be started, or the last one died.
    StartFailed {
        /// Failures in a row.
        failures: u32,
        /// Pause before the next attempt.
        backoff: Duration,
    },
    /// Shed: a node has almost no memory left, and the service too low a priority to start anything.
    BrownOut {
        /// Where.
        node: NodeId,
        /// Memory that its owner measured.
        available_bytes: u64,
    },
    /// Shed: the service is not known.
    UnknownService,
    /// Any command: an inventory showed that the owner does not know it yet.
    Repeated {
        /// The action that went unheard.
        of: ActionId,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::RequestsWaiting {
                waiting,
                awake,
                max_instances,
            } => {
                write!(
                    f,
                    "{} waiting, {awake} of {} awake",
                    Count(waiting, "request"),
                    Count(max_instances, "instance")
                )
            }
            Self::ConnectionActive { connection } => write!(f, "connection {connection} has bytes"),
            Self::BelowMin { awake, min_instances } => write!(f, "{awake} awake, minimum {min_instances}"),
            Self::BelowCount { awake, wanted, basis } => write!(f, "{awake} awake, {wanted} wanted: {basis}"),
            Self::AboveSoft {
                requests,
                awake,
                soft_concurrency,
            } => {
                write!(
                    f,
                    "{requests} in {}, {soft_concurrency} meant for each",
                    Count(awake, "instance")
                )
            }
            Self::AboveCount { awake, wanted, basis } => write!(f, "{awake} awake, {wanted} wanted: {basis}"),
            Self::CloneFailed { failed, of } => write!(f, "clone {failed} of instance {of} failed"),
            Self::RestoreFailed { failed } => write!(f, "restore of instance {failed} failed"),
            Self::Retry { attempt, waiting } => {
                write!(f, "attempt {attempt}, {} waiting", Count(waiting, "request"))
            }
            Self::IdleFor {
                idle,
                cooldown,
                basis: Basis::Refused { times },
            } => write!(
                f,
                "refused {}, last {} ago, asked again after {}",
                Count(times, "time"),
                Span(idle),
                Span(cooldown)
            ),
            Self::IdleFor {
                idle,
                cooldown,
                basis,
            } => write!(f, "idle {}, cooldown {}{basis}", Span(idle), Span(cooldown)),
            Self::Prewake { hold, rhythm } => write!(
                f,
                "called every {} ± {}, {} ‰ on time; kept for {}",
                Span(Duration::from_micros(rhythm.period_us)),
                Span(Duration::from_micros(u64::from(rhythm.jitter_us))),
                rhythm.hits_permille,
                Span(hold)
            ),
            Self::OverMax {
                instances,
                max_instances,
            } => {
                write!(f, "{}, maximum {max_instances}", Count(instances, "instance"))
            }
            Self::StartTimedOut { after } => write!(f, "start not answered within {}", Span(after)),
            Self::NotWanted => f.write_str("not wanted any more"),
            Self::ServiceRemoved => f.write_str("service removed"),
            Self::SlotFree {
                waited,
                in_flight,
                concurrency: u32::MAX,
            } => {
                write!(f, "waited {}, {in_flight} in flight", Span(waited))
            }
            Self::SlotFree {
                waited,
                in_flight,
                concurrency,
            } => {
                write!(
                    f,
                    "waited {}, {in_flight} of {concurrency} in flight",
                    Span(waited)
                )
            }
            Self::QueueFull { waiting, max_waiting } => {
                write!(f, "{} waiting, limit {max_waiting}", Count(waiting, "request"))
            }
            Self::WaitedTooLong { waited, max_wait } => {
                write!(f, "waited {}, limit {}", Span(waited), Span(max_wait))
            }
            Self::StartFailed { failures, backoff } => {
                write!(
                    f,
                    "{} in a row, next attempt in {}",
                    Count(failures, "failed start"),
                    Span(backoff)
                )
            }
            Self::MemoryShort { node, bytes } => {
                write!(f, "memory of node {node} is short, frees {}", Bytes(bytes))
            }
            Self::BrownOut {
                node,
                available_bytes,
            } => write!(f, "node {node} has {} available", Bytes(available_bytes)),
            Self::UnknownService => f.write_str("unknown service"),
            Self::Repeated { of } => write!(f, "action {of} went unheard"),
        }
    }
}
