use alloc::vec::Vec;
use core::fmt;

use crate::action::ParkLevel;
use crate::ids::{Epoch, InstanceId, ServiceId};
use crate::instance::Phase;
use crate::ladder::Rung;
use crate::limits::Blocked;
use crate::log::Decision;
use crate::policy::Basis;
use crate::scale::CountBasis;
use crate::time::Timestamp;
use crate::units::{Count, Span};

/// The state of a service with the numbers behind it, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The service.
    pub service: ServiceId,
    /// When this was so.
    pub at: Timestamp,
    /// Its instances, by id.
    pub instances: Vec<InstanceView>,
    /// Requests waiting.
    pub waiting: u32,
    /// When the request that waits longest arrived.
    pub waiting_since: Option<Timestamp>,
    /// Failed starts and deaths since something last worked.
    pub failures: u32,
    /// No start before, because of them.
    pub backoff_until: Option<Timestamp>,
    /// The limit that keeps a wanted start from happening.
    pub blocked: Option<Blocked>,
    /// When an instance is woken for somebody who is expected.
    pub prewake: Option<Timestamp>,
    /// How many instances are to be awake, if a scale mode computes that, and why.
    pub wanted: Option<(u32, CountBasis)>,
    /// Whether idle instances are kept longer because parking them did not pay.
    pub is_flapping: bool,
    /// Generation of its configuration.
    pub generation: u64,
    /// What it has done so far.
    pub counters: Counters,
    /// Its last `Start`, `Park` or `Stop`.
    pub last: Option<Decision>,
}

/// One instance of an [`Explanation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceView {
    /// The instance.
    pub instance: InstanceId,
    /// Its last lifecycle command.
    pub epoch: Epoch,
    /// What it does.
    pub phase: Phase,
    /// Requests in flight.
    pub in_flight: u32,
    /// Open connections.
    pub connections: usize,
    /// Since when it runs with nothing to do.
    pub idle_since: Option<Timestamp>,
    /// When its next step down the ladder is due if nothing happens; while it starts, when that is given up.
    pub deadline: Option<Timestamp>,
    /// Where it sleeps.
    pub level: Option<ParkLevel>,
    /// Where it goes at its deadline.
    pub next: Option<Rung>,
    /// The numbers behind that.
    pub basis: Option<Basis>,
    /// Whether it is stopped once idle.
    pub draining: bool,
    /// What its last park wrote, or the next one would as was measured since; 0 if that is not known.
    pub park_bytes: u64,
}

/// Requests of one service since it was configured first. `queued = waiting + admitted + shed + left` and
/// `admitted = in flight + done + lost`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Arrived.
    pub queued: u64,
    /// Forwarded to an instance.
    pub admitted: u64,
    /// Refused.
    pub shed: u64,
    /// Ended by the client while waiting.
    pub left: u64,
    /// Ended after they were admitted.
    pub done: u64,
    /// In flight on an instance that died.
    pub lost: u64,
}

impl fmt::Display for InstanceView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Starting => "starting",
            Phase::Running if self.draining => "draining",
            Phase::Running if self.idle_since.is_some() => "idle",
            Phase::Running => "busy",
            Phase::Parking => "parking",
            Phase::Parked => match self.level {
                Some(ParkLevel::Paused) => "paused",
                Some(ParkLevel::Disk) => "parked on disk",
                _ => "parked",
            },
            Phase::Stopping => "stopping",
        };
        write!(f, "instance {} {phase}", self.instance)?;
        if self.in_flight > 0 {
            write!(f, ", {} in flight", self.in_flight)?;
        }
        if self.connections > 0 {
            write!(
                f,
                ", {} open",
                Count(u32::try_from(self.connections).unwrap_or(u32::MAX), "connection")
            )?;
        }
        Ok(())
    }
}

/// `service 1: instance 3 idle, parks in 7 ms; no requests waiting; last at 2 ms: restore instance 3: …`
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service {}: ", self.service)?;
        if self.instances.is_empty() {
            f.write_str("no instances")?;
        }
        for (index, view) in self.instances.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            view.fmt(f)?;
            view.fmt_next(f, self.at)?;
        }
        self.fmt_starts(f)?;
        if let Some((wanted, basis)) = self.wanted {
            write!(f, "; {wanted} wanted: {basis}")?;
        }
        if self.is_flapping {
            f.write_str("; flapping")?;
        }
        if let Some(until) = self.backoff_until {
            let left = Span(until.saturating_since(self.at));
            let failures = Count(self.failures, "failure");
            write!(f, "; {failures} in a row, next start in {left}")?;
        }
        if let Some(last) = &self.last {
            write!(f, "; last at {}: {}", last.at, last.action)?;
        }
        Ok(())
    }
}

impl InstanceView {
    /// What becomes of it when, seen at `now`.
    fn fmt_next(&self, f: &mut fmt::Formatter<'_>, now: Timestamp) -> fmt::Result {
        let left = self.deadline.map(|at| Span(at.saturating_since(now)));
        match (self.phase, self.next, left) {
            (Phase::Running, next, Some(left)) => {
                let stops = next == Some(Rung::Stop);
                let verb = if stops { "stops" } else { "parks" };
                write!(f, ", {verb} in {left}")?;
                self.basis.map_or(Ok(()), |basis| fmt::Display::fmt(&basis, f))
            }
            (Phase::Parked, Some(next), Some(left)) => write!(f, ", {next} in {left}"),
            (Phase::Running, _, None) if self.idle_since.is_some() => f.write_str(", kept awake"),
            (Phase::Starting, _, Some(left)) => write!(f, ", given up in {left}"),
            _ => Ok(()),
        }
    }
}

impl Explanation {
    /// Who waits for a start, why, and when one comes.
    fn fmt_starts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "; {} waiting", Count(self.waiting, "request"))?;
        if let Some(since) = self.waiting_since {
            write!(f, " for up to {}", Span(self.at.saturating_since(since)))?;
        }
        if let Some(blocked) = self.blocked {
            write!(f, "; no start: {blocked}")?;
        }
        if let Some(at) = self.prewake {
            write!(f, "; wakes in {}", Span(at.saturating_since(self.at)))?;
        }
        Ok(())
    }
}
