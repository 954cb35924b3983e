use crate::ids::{NodeId, ServiceId, TenantId};
use crate::limits::aside::Sought;
use crate::limits::gate::Gate;
use crate::limits::node::Purpose;
use crate::limits::nodes::Spot;
use crate::limits::rotation::Ticket;

/// What a service asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) service: ServiceId,
    pub(crate) tenant: TenantId,
    pub(crate) priority: u8,
    pub(crate) purpose: Purpose,
    pub(crate) spot: Spot,
    /// Memory of the instance when it runs.
    pub(crate) bytes: u64,
    /// What it has already, asleep.
    pub(crate) held_bytes: u64,
}

/// What a service wants now, if anything.
pub(crate) type AskOf<'a> = &'a mut dyn FnMut(&Gate, ServiceId) -> Option<Ask>;

impl Ask {
    /// Memory it takes beyond what it has.
    pub(super) fn more(&self) -> u64 {
        self.bytes.saturating_sub(self.held_bytes)
    }

    /// Whether it finds the same in its way as another one of its service.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let what = |ask: &Self| (ask.tenant, ask.priority, ask.sought(), ask.more());
        what(self) == what(other)
    }

    /// What it looks for.
    pub(super) fn sought(&self) -> Sought {
        Sought {
            node: self.pinned(),
            purpose: self.purpose,
        }
    }

    /// The only node that will do, if there is one.
    fn pinned(&self) -> Option<NodeId> {
        match self.spot {
            Spot::On(node) => Some(node),
            Spot::Near(_) => None,
        }
    }
}

/// What becomes of a place in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is served: one start, here.
    Start(Ticket, NodeId),
    /// It is given up: its service wants nothing any more.
    Stale(Ticket),
}
