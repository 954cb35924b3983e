use alloc::vec::Vec;

use crate::ids::{ActionId, ConnectionId, Epoch, InstanceId, NodeId, RequestId, ServiceId};
use crate::instance::{Activity, Phase};

/// All that the owner has of one service: the level that repairs lost edges.
///
/// Only a start has a time limit. That a park or a stop was answered and the answer was lost, or that it never will be, an
/// inventory alone tells: without one the instance is charged for and counted for ever.
///
/// Sent every few seconds, and once for every service after a restart, best by
/// [`ServiceAdopted`](crate::Event::ServiceAdopted). Where it contradicts the scheduler, the
/// inventory is right, except about actions younger than `as_of`: those are still on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// The service; an unknown one has all it has stopped and shed.
    pub service: ServiceId,
    /// The last action, of any service, that had come out of the scheduler when the owner began to look: each one up
    /// to it had been done by then, or never will be. `ActionId(0)`: none.
    pub as_of: ActionId,
    /// Requests held and not yet forwarded.
    pub waiting: Vec<RequestId>,
    /// Every instance there is, asleep or awake. Those not listed are gone.
    pub instances: Vec<InstanceReport>,
}

/// What the owner knows of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceReport {
    /// The instance.
    pub instance: InstanceId,
    /// Where it is.
    pub node: NodeId,
    /// Epoch of the last command the owner received for it. Beyond `u64::MAX / 2` there would be none for commands: such a
    /// report is ignored.
    pub epoch: Epoch,
    /// What it does.
    pub phase: Phase,
    /// Requests forwarded to it that have not ended.
    pub in_flight: Vec<RequestId>,
    /// Connections to it that are open.
    pub connections: Vec<(ConnectionId, Activity)>,
}
