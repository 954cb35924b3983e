use alloc::collections::BTreeSet;

use crate::action::StartKind;
use crate::config::OpenConnections;
use crate::ids::{ActionId, ConnectionId, Epoch, InstanceId};
use crate::time::Timestamp;

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
    },
    /// `idle_since` is set exactly while nothing keeps it busy.
    Running {
        idle_since: Option<Timestamp>,
    },
    Parking,
    Parked,
    Stopping,
}

/// One VM of a service.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) epoch: Epoch,
    /// The last lifecycle command, which made `epoch`; `ActionId(0)` for an adopted instance.
    pub(crate) commanded_by: ActionId,
    pub(crate) state: State,
    pub(crate) in_flight: u32,
    /// Takes nothing new and is stopped once idle.
    pub(crate) draining: bool,
    pub(crate) timer: Option<Timestamp>,
    /// Parks in a row that its owner refused although its keep-awake time was over.
    pub(crate) refusals: u32,
    active: BTreeSet<ConnectionId>,
    quiet: BTreeSet<ConnectionId>,
}

impl Instance {
    pub(crate) fn new(id: InstanceId, state: State) -> Self {
        Self {
            id,
            epoch: Epoch::default(),
            commanded_by: ActionId::default(),
            state,
            in_flight: 0,
            draining: false,
            timer: None,
            refusals: 0,
            active: BTreeSet::new(),
            quiet: BTreeSet::new(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.state {
            State::Starting { .. } => Phase::Starting,
            State::Running { .. } => Phase::Running,
            State::Parking => Phase::Parking,
            State::Parked => Phase::Parked,
            State::Stopping => Phase::Stopping,
        }
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
        self.active.first().copied()
    }

    /// Open connections, with bytes or quiet.
    pub(crate) fn connections(&self) -> usize {
        self.active.len() + self.quiet.len()
    }

    pub(crate) fn set_connection(&mut self, connection: ConnectionId, activity: Activity) {
        let (into, from) = match activity {
            Activity::Active => (&mut self.active, &mut self.quiet),
            Activity::Quiet => (&mut self.quiet, &mut self.active),
        };
        from.remove(&connection);
        into.insert(connection);
    }

    pub(crate) fn close_connection(&mut self, connection: ConnectionId) {
        self.active.remove(&connection);
        self.quiet.remove(&connection);
    }

    /// Puts these connections in the place of all.
    pub(crate) fn set_connections(&mut self, connections: &[(ConnectionId, Activity)]) {
        self.close_connections();
        for (connection, activity) in connections {
            self.set_connection(*connection, *activity);
        }
    }

    pub(crate) fn close_connections(&mut self) {
        self.active.clear();
        self.quiet.clear();
    }
}
