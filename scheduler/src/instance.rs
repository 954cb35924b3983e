use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use core::num::NonZeroU64;

use crate::action::{ParkLevel, StartKind};
use crate::config::OpenConnections;
use crate::ids::{ActionId, ConnectionId, Epoch, InstanceId, NodeId};
use crate::ladder::Rung;
use crate::limits::Charge;
use crate::policy::{Basis, Plan};
use crate::time::Timestamp;
use crate::timers::Timer;

/// What an instance does, as its owner and a dashboard see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Told to start, not serving yet.
    Starting,
    /// Serving.
    Running,
    /// Told to park, not asleep yet; takes no requests.
    Parking,
    /// Asleep.
    Parked,
    /// Told to stop, not gone yet.
    Stopping,
}

/// Whether something moves on an open connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// Bytes move.
    Active,
    /// Open, but nothing moves.
    Quiet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Starting {
        kind: StartKind,
        /// Where it slept.
        from: Option<ParkLevel>,
    },
    /// `idle_since` is set exactly while nothing keeps it busy.
    Running {
        idle_since: Option<Timestamp>,
    },
    Parking {
        level: ParkLevel,
    },
    /// `deeper` is set while it is on its way there; it can be woken all the same.
    Parked {
        level: ParkLevel,
        deeper: Option<ParkLevel>,
    },
    Stopping,
}

/// The way down the ladder of an instance that is idle or sleeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descent {
    /// When it was last busy.
    pub(crate) since: Timestamp,
    pub(crate) plan: Plan,
    /// By how much its steps come earlier than the policy planned them; 1: not at all.
    hurry: u32,
}

impl Descent {
    pub(crate) fn new(since: Timestamp, plan: Plan) -> Self {
        Self {
            since,
            plan,
            hurry: 1,
        }
    }

    /// Makes every step come so much earlier than planned, unless that was done before.
    pub(crate) fn hurry(&mut self, by: u32) {
        if self.hurry < by {
            self.plan.shorten(by / self.hurry);
            self.hurry = by;
        }
    }

    /// When the next step is due for an instance at `from`.
    pub(crate) fn deadline(&self, from: Option<Rung>) -> Option<Timestamp> {
        self.plan.next(from).map(|(_, after)| self.since + after)
    }
}

/// One VM of a service.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) node: NodeId,
    pub(crate) epoch: Epoch,
    /// The last lifecycle command, which made `epoch`; `ActionId(0)` for an adopted instance.
    pub(crate) commanded_by: ActionId,
    /// When that was.
    pub(crate) commanded_at: Timestamp,
    pub(crate) state: State,
    pub(crate) in_flight: u32,
    /// Takes nothing new and is stopped once idle.
    pub(crate) draining: bool,
    pub(crate) timer: Option<Timer>,
    /// Set while it is idle and may sleep, or sleeps and may sleep deeper.
    pub(crate) descent: Option<Box<Descent>>,
    /// What it is charged for on its node.
    pub(crate) charge: Option<Charge>,
    /// Under which it is listed to be moved to disk.
    pub(crate) worth: Option<u64>,
    /// As measured; 0 if it was not.
    pub(crate) resident_bytes: u64,
    /// What parking it saves, as measured; 0 if it was not.
    pub(crate) saved_bytes: u64,
    /// What its park will write, if that was booked: then it waits for its turn.
    pub(crate) booked_bytes: Option<NonZeroU64>,
    /// Started to keep `min_instances`.
    pub(crate) for_min: bool,
    /// Parks in a row that its owner refused although its keep-awake time was over.
    pub(crate) refusals: u32,
    /// `None` while there are none.
    connections: Option<Box<Connections>>,
}

/// Open connections.
#[derive(Debug, Default)]
struct Connections {
    active: BTreeSet<ConnectionId>,
    quiet: BTreeSet<ConnectionId>,
}

impl Instance {
    pub(crate) fn new(id: InstanceId, node: NodeId, state: State) -> Self {
        Self {
            id,
            node,
            epoch: Epoch::default(),
            commanded_by: ActionId::default(),
            commanded_at: Timestamp::ZERO,
            state,
            in_flight: 0,
            draining: false,
            timer: None,
            descent: None,
            charge: None,
            worth: None,
            resident_bytes: 0,
            saved_bytes: 0,
            booked_bytes: None,
            for_min: false,
            refusals: 0,
            connections: None,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.state {
            State::Starting { .. } => Phase::Starting,
            State::Running { .. } => Phase::Running,
            State::Parking { .. } => Phase::Parking,
            State::Parked { .. } => Phase::Parked,
            State::Stopping => Phase::Stopping,
        }
    }

    /// Where it sleeps.
    pub(crate) fn rung(&self) -> Option<Rung> {
        match self.state {
            State::Parked { level, .. } => Some(Rung::Park(level)),
            _ => None,
        }
    }

    /// The numbers behind the next step of a plan.
    pub(crate) fn basis(&self, plan: &Plan) -> Basis {
        match self.refusals {
            0 => plan.basis(),
            times => Basis::Refused { times },
        }
    }

    pub(crate) fn is_parked(&self) -> bool {
        matches!(self.state, State::Parked { .. })
    }

    pub(crate) fn idle_since(&self) -> Option<Timestamp> {
        match self.state {
            State::Running { idle_since } => idle_since,
            _ => None,
        }
    }

    pub(crate) fn is_busy(&self, open: OpenConnections) -> bool {
        let connected = match open {
            OpenConnections::ParkWhenQuiet => self.active_connection().is_some(),
            OpenConnections::KeepAwake => self.connections() > 0,
        };
        self.in_flight > 0 || connected
    }

    /// The lowest numbered connection with bytes.
    pub(crate) fn active_connection(&self) -> Option<ConnectionId> {
        self.connections.as_ref()?.active.first().copied()
    }

    /// Open connections, with bytes or quiet.
    pub(crate) fn connections(&self) -> usize {
        self.connections
            .as_ref()
            .map_or(0, |open| open.active.len() + open.quiet.len())
    }

    pub(crate) fn set_connection(&mut self, connection: ConnectionId, activity: Activity) {
        let open = self.connections.get_or_insert_default();
        let (into, from) = match activity {
            Activity::Active => (&mut open.active, &mut open.quiet),
            Activity::Quiet => (&mut open.quiet, &mut open.active),
        };
        from.remove(&connection);
        into.insert(connection);
    }

    pub(crate) fn close_connection(&mut self, connection: ConnectionId) {
        if let Some(open) = &mut self.connections {
            open.active.remove(&connection);
            open.quiet.remove(&connection);
        }
        self.connections
            .take_if(|open| open.active.is_empty() && open.quiet.is_empty());
    }

    /// Puts these connections in the place of all.
    pub(crate) fn set_connections(&mut self, connections: &[(ConnectionId, Activity)]) {
        self.close_connections();
        for (connection, activity) in connections {
            self.set_connection(*connection, *activity);
        }
    }

    pub(crate) fn close_connections(&mut self) {
        self.connections = None;
    }
}
