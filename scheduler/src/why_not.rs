use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::ids::{InstanceId, ServiceId};
use crate::instance::Phase;
use crate::ladder::Rung;
use crate::limits::Blocked;
use crate::policy::Basis;
use crate::reason::Reason;
use crate::scale::CountBasis;
use crate::time::Timestamp;
use crate::units::{Count, Span};

/// Why nothing of a service was started, parked or stopped just now, with the numbers behind it and what would change it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WhyNot {
    /// The service.
    pub service: ServiceId,
    /// When this was so.
    pub at: Timestamp,
    /// Why no instance was started.
    pub start: NoStart,
    /// Why each instance stays as it is.
    pub instances: Vec<(InstanceId, Stays)>,
    /// Why no instance was stopped for being one too many.
    pub stop: NoStop,
}

/// Why no instance is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoStart {
    /// The service was removed.
    Removed,
    /// Starts pause after failures.
    Pause {
        /// In a row.
        failures: u32,
        /// Until the next one.
        left: Duration,
    },
    /// One is wanted, but there are as many as there may be.
    AtMax {
        /// Why one is wanted.
        wanted: Reason,
        /// There are, all awake or on their way.
        instances: u32,
        /// There may be.
        max_instances: u32,
    },
    /// One is wanted, but a limit is in the way that all services share.
    Blocked {
        /// Why one is wanted.
        wanted: Reason,
        /// What is in the way.
        by: Blocked,
    },
    /// Requests wait for the computed count to rise.
    Counted {
        /// Requests waiting.
        waiting: u32,
        /// Instances awake or on their way.
        awake: u32,
        /// That there are to be.
        wanted: u32,
        /// The numbers behind that.
        basis: CountBasis,
        /// Until it is computed again.
        next: Duration,
    },
    /// Those who wait fit on the instances that start.
    OnTheWay {
        /// Requests waiting.
        waiting: u32,
        /// Instances that start.
        arriving: u32,
        /// Requests they take.
        room: u64,
    },
    /// Nobody waits.
    Enough {
        /// Instances awake or on their way.
        awake: u32,
        /// That there are to be at least.
        least: u32,
        /// Requests in flight on the one with most room; `None` while none has room.
        in_flight: Option<u32>,
        /// Requests that an instance takes.
        concurrency: u32,
    },
}

/// Why an instance stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stays {
    /// It is on its way somewhere.
    Between {
        /// Which.
        phase: Phase,
    },
    /// Something keeps it awake.
    Busy {
        /// Requests in flight.
        in_flight: u32,
        /// Connections that keep it awake.
        connections: usize,
        /// Whether it stops once idle.
        is_draining: bool,
    },
    /// So many are to be awake.
    Held {
        /// Instances that run.
        awake: u32,
        /// That there are to be at least.
        least: u32,
        /// The numbers behind that; `None` if it is the configured minimum.
        basis: Option<CountBasis>,
    },
    /// It is not time yet.
    NotYet {
        /// How long it has been idle or asleep; from the last activity.
        idle: Duration,
        /// Where it goes.
        next: Rung,
        /// Until then.
        left: Duration,
        /// The numbers behind that.
        basis: Basis,
    },
    /// It stays where it is until somebody comes.
    Rests {
        /// What it does.
        phase: Phase,
    },
}

/// Why no instance is stopped for being one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoStop {
    /// Instances that stay.
    pub instances: u32,
    /// That there may be.
    pub max_instances: u32,
    /// Too many, but busy: each is stopped once idle.
    pub draining: u32,
}

impl fmt::Display for NoStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Removed => f.write_str("the service was removed: configure it again"),
            Self::Pause { failures, left } => {
                write!(
                    f,
                    "{} in a row: the next attempt is in {}",
                    Count(failures, "failure"),
                    Span(left)
                )
            }
            Self::AtMax {
                wanted,
                instances,
                max_instances,
            } => write!(
                f,
                "{wanted}; but there are {instances} of at most {max_instances}, none asleep: a higher max_instances \
                 or a request that ends"
            ),
            Self::Blocked { wanted, by } => write!(f, "{wanted}; but {by}"),
            Self::Counted {
                waiting,
                awake,
                wanted,
                basis,
                next,
            } => write!(
                f,
                "{} waiting, {awake} awake, {wanted} wanted ({basis}): the next count is in {}",
                Count(waiting, "request"),
                Span(next)
            ),
            Self::OnTheWay {
                waiting,
                arriving,
                room,
            } => write!(
                f,
                "{} waiting, {} on the way with room for {room}: one more request than that",
                Count(waiting, "request"),
                Count(arriving, "instance")
            ),
            Self::Enough {
                awake,
                least,
                in_flight,
                concurrency,
            } => write_enough(f, awake, least, in_flight, concurrency),
        }
    }
}

fn write_enough(
    f: &mut fmt::Formatter<'_>,
    awake: u32,
    least: u32,
    in_flight: Option<u32>,
    concurrency: u32,
) -> fmt::Result {
    write!(
        f,
        "nobody waits, {awake} awake or on the way, at least {least} wanted: "
    )?;
    match (in_flight, concurrency) {
        (Some(_), u32::MAX) => f.write_str("any number of requests fits on one"),
        (Some(in_flight), _) => {
            write!(
                f,
                "a request that finds no slot; one has {in_flight} of {concurrency} in flight"
            )
        }
        (None, _) => f.write_str("a request"),
    }
}

impl fmt::Display for Stays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Between { phase } => f.write_str(match phase {
                Phase::Starting => "starts",
                Phase::Parking => "is on its way to sleep",
                Phase::Stopping => "is being stopped",
                Phase::Running | Phase::Parked => "changes",
            }),
            Self::Busy {
                in_flight,
                connections,
                is_draining,
            } => {
                let connections = u32::try_from(connections).unwrap_or(u32::MAX);
                match (in_flight, connections) {
                    (0, _) => write!(f, "has {}", Count(connections, "connection"))?,
                    (_, 0) => write!(f, "has {} in flight", Count(in_flight, "request"))?,
                    _ => write!(
                        f,
                        "has {} in flight and {}",
                        Count(in_flight, "request"),
                        Count(connections, "connection")
                    )?,
                }
                f.write_str(match is_draining {
                    true => ": stops once they end",
                    false => ": may sleep once they end",
                })
            }
            Self::Held { awake, least, basis } => {
                write!(f, "is one of {awake} awake, at least {least} wanted (")?;
                match basis {
                    Some(basis) => basis.fmt(f)?,
                    None => f.write_str("minimum")?,
                }
                f.write_str("): one more awake or fewer wanted")
            }
            Self::NotYet {
                idle,
                next,
                left,
                basis,
            } => write!(f, "idle for {}: {next} in {}{basis}", Span(idle), Span(left)),
            Self::Rests { phase: Phase::Parked } => f.write_str("sleeps as deeply as it may"),
            Self::Rests { .. } => f.write_str("never sleeps by itself: a cooldown or another policy"),
        }
    }
}

impl fmt::Display for NoStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = Count(self.max_instances, "instance");
        write!(f, "{} of at most {max}", self.instances)?;
        if self.draining > 0 {
            write!(f, ", {} more once idle", self.draining)?;
        }
        Ok(())
    }
}

/// `service 1: no start: nobody waits, …; instance 1 idle for 3 ms: parked in RAM in 7 ms; no stop: 1 of at most 1 instance`
impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service {}: no start: {}", self.service, self.start)?;
        for (instance, stays) in &self.instances {
            write!(f, "; instance {instance} {stays}")?;
        }
        write!(f, "; no stop: {}", self.stop)
    }
}
