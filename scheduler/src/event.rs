use crate::config::ValidConfig;
use crate::ids::{ConnectionId, Epoch, InstanceId, NodeId, RequestId, ServiceId, TenantId};
use crate::inventory::Inventory;
use crate::limits::{NodeConfig, TenantConfig};
use crate::scale::Milli;
use crate::time::Timestamp;

/// What happened, told by the owner in the order in which it saw it.
///
/// Every event may come twice, late or never: what does not fit is ignored, and an [`Inventory`] repairs what was
/// lost. Plain data, so that a recording of events can be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// There is such a service, or it has a new configuration. Never ends a busy instance.
    ServiceConfigured {
        /// The service.
        service: ServiceId,
        /// Its configuration from now on.
        config: ValidConfig,
    },
    /// There was such a service before this scheduler, with what the inventory says: nothing is started that is there
    /// already. After a restart, in the place of `ServiceConfigured` and a first [`Inventory`], which come one after the
    /// other and so start the least and the initial instances in between. Later it is like both.
    ServiceAdopted {
        /// Its configuration from now on.
        config: ValidConfig,
        /// What there is of it; `as_of` is `ActionId(0)`.
        inventory: Inventory,
    },
    /// The service is to end: waiting requests are shed, those in flight finish, then its instances are stopped. Offered
    /// again before the last of them ended, it goes on with them, as with a first configuration. Of a service that is not
    /// there, what was learned and [restored](crate::Policy::restore) is forgotten.
    ServiceRemoved {
        /// The service.
        service: ServiceId,
    },
    /// A request arrived and is held. It will be admitted or shed.
    RequestQueued {
        /// What it asks for.
        service: ServiceId,
        /// The request.
        request: RequestId,
    },
    /// A request ended: it was answered, it failed, or the client left while it waited.
    RequestDone {
        /// What it asked for.
        service: ServiceId,
        /// The request.
        request: RequestId,
    },
    /// A connection was opened, or one that was quiet has bytes again. A sleeping instance is woken for it.
    ConnectionActive {
        /// The service.
        service: ServiceId,
        /// Where the connection ends.
        instance: InstanceId,
        /// The connection.
        connection: ConnectionId,
    },
    /// A connection is open but nothing moves on it.
    ConnectionQuiet {
        /// The service.
        service: ServiceId,
        /// Where the connection ends.
        instance: InstanceId,
        /// The connection.
        connection: ConnectionId,
    },
    /// A connection was closed.
    ConnectionClosed {
        /// The service.
        service: ServiceId,
        /// Where the connection ended.
        instance: InstanceId,
        /// The connection.
        connection: ConnectionId,
    },
    /// Answer to `Start`: the instance serves.
    InstanceReady {
        /// The service.
        service: ServiceId,
        /// The instance.
        instance: InstanceId,
        /// Epoch of the command.
        epoch: Epoch,
    },
    /// Answer to `Start`: the instance could not be started and is gone, with what it had saved.
    InstanceFailed {
        /// The service.
        service: ServiceId,
        /// The instance.
        instance: InstanceId,
        /// Epoch of the command.
        epoch: Epoch,
    },
    /// Answer to `Park`: the instance sleeps and can be restored.
    InstanceParked {
        /// The service.
        service: ServiceId,
        /// The instance.
        instance: InstanceId,
        /// Epoch of the command.
        epoch: Epoch,
        /// What was written to save it; 0 if that is not known.
        written_bytes: u64,
    },
    /// Answer to `Park`: the instance was not quiet and runs on; or it stays as deeply asleep as it was.
    ParkRefused {
        /// The service.
        service: ServiceId,
        /// The instance.
        instance: InstanceId,
        /// Epoch of the command.
        epoch: Epoch,
        /// When something last happened in it; the cooldown counts from there.
        last_activity: Timestamp,
    },
    /// The instance is gone: answer to `Stop`, or to a command for an instance that is not there, or it died.
    InstanceExited {
        /// The service.
        service: ServiceId,
        /// The instance.
        instance: InstanceId,
        /// Epoch of the last command the owner had for it.
        epoch: Epoch,
    },
    /// The instance ended by itself and is gone, and all is well: it was done. What was saved of it is gone too.
    InstanceFinished {
        /// The service.
        service: ServiceId,
        /// The instance.
        instance: InstanceId,
        /// Epoch of the last command the owner had for it.
        epoch: Epoch,
    },
    /// What an instance used lately. Once at least in each interval of a scale mode that follows it.
    Usage {
        /// The service.
        service: ServiceId,
        /// The instance.
        instance: InstanceId,
        /// vCPUs it kept busy on average, in thousandths of one.
        cpu: Milli,
    },
    /// The memory of an instance was measured.
    InstanceMemory {
        /// The service.
        service: ServiceId,
        /// The instance.
        instance: InstanceId,
        /// Memory it has, of its own.
        resident_bytes: u64,
        /// Of that, what it wrote since it was restored: what parking it would save. 0 if that is not known.
        dirty_bytes: u64,
    },
    /// A node is there, or has a new configuration. What it started and wrote before it went counts against its limits, so
    /// that one that comes and goes has one burst. What is out of range counts as [`NodeConfig`] says.
    NodeUp {
        /// The node.
        node: NodeId,
        /// What it has.
        config: NodeConfig,
    },
    /// A node is gone, with every instance that ran or slept there.
    NodeDown {
        /// The node.
        node: NodeId,
    },
    /// A node has more or less memory for instances than before.
    NodeCapacity {
        /// The node.
        node: NodeId,
        /// For instances, asleep or awake; `None` is no limit.
        memory_bytes: Option<u64>,
    },
    /// The available memory of a node was measured. Wanted every second or so, and more often while it is short.
    MemoryPressure {
        /// The node.
        node: NodeId,
        /// What may still be used without anything being thrown out.
        available_bytes: u64,
    },
    /// There is such a tenant, or it has a new configuration. Those never told of have the default. It is known until
    /// `TenantRemoved`. What is out of range counts as [`TenantConfig`] says.
    TenantConfigured {
        /// The tenant.
        tenant: TenantId,
        /// What it may have.
        config: TenantConfig,
    },
    /// There is no such tenant any more. Ends nothing: what its services have, or start, counts as if it had never been told of,
    /// and it is forgotten once they have nothing. Told of again it is new, with a full burst.
    TenantRemoved {
        /// The tenant.
        tenant: TenantId,
    },
    /// What is really there, for one service.
    Inventory(Inventory),
    /// Time passed: what was due is done. Wanted at [`next_deadline`](crate::Scheduler::next_deadline).
    Tick,
}

impl Event {
    /// The service it is about; `None` for what concerns all.
    pub fn service(&self) -> Option<ServiceId> {
        match self {
            Self::ServiceConfigured { service, .. }
            | Self::ServiceRemoved { service }
            | Self::RequestQueued { service, .. }
            | Self::RequestDone { service, .. }
            | Self::ConnectionActive { service, .. }
            | Self::ConnectionQuiet { service, .. }
            | Self::ConnectionClosed { service, .. }
            | Self::InstanceReady { service, .. }
            | Self::InstanceFailed { service, .. }
            | Self::InstanceParked { service, .. }
            | Self::ParkRefused { service, .. }
            | Self::InstanceExited { service, .. }
            | Self::InstanceFinished { service, .. }
            | Self::Usage { service, .. }
            | Self::InstanceMemory { service, .. }
            | Self::ServiceAdopted {
                inventory: Inventory { service, .. },
                ..
            }
            | Self::Inventory(Inventory { service, .. }) => Some(*service),
            Self::NodeUp { .. }
            | Self::NodeDown { .. }
            | Self::NodeCapacity { .. }
            | Self::MemoryPressure { .. }
            | Self::TenantConfigured { .. }
            | Self::TenantRemoved { .. }
            | Self::Tick => None,
        }
    }
}
