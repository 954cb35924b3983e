use core::fmt;
use core::time::Duration;

use crate::ids::{NodeId, ServiceId, TenantId};
use crate::limits::rate::RateLimit;
use crate::time::Timestamp;
use crate::units::{Bytes, Count};

/// What keeps a start from happening now, with its numbers. Its `Display` says what would change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Blocked {
    /// Others came first; nothing else is in the way.
    Turn {
        /// Starts that wait, of all tenants.
        waiting: u32,
    },
    /// Starts are limited.
    StartRate {
        /// Where.
        scope: Scope,
        /// To what.
        limit: RateLimit,
        /// When the next one may be.
        free_at: Timestamp,
        /// Starts that wait, of all tenants.
        waiting: u32,
    },
    /// The tenant has as many instances as it may.
    Instances {
        /// Whose.
        tenant: TenantId,
        /// There are, awake or on their way.
        instances: u32,
        /// There may be.
        max_instances: u32,
    },
    /// The tenant has as much memory as it may.
    TenantMemory {
        /// Whose.
        tenant: TenantId,
        /// It has.
        used_bytes: u64,
        /// The instance needs.
        needs_bytes: u64,
        /// It may have.
        max_bytes: u64,
    },
    /// A node has too little memory left.
    Memory {
        /// The one with the instance's saved state, or the one with the most.
        node: NodeId,
        /// Not used, or kept for something else.
        free_bytes: u64,
        /// The instance needs.
        needs_bytes: u64,
        /// The node has.
        capacity_bytes: u64,
    },
    /// Memory that becomes free is kept for a start that waits longer.
    Reserved {
        /// Where.
        node: NodeId,
        /// For whom.
        service: ServiceId,
        /// How much.
        kept_bytes: u64,
    },
    /// No node is that large.
    TooLarge {
        /// The instance needs.
        needs_bytes: u64,
        /// What the largest node has for it.
        largest_bytes: u64,
    },
    /// There is no node.
    NoNode,
    /// The node with the saved state of the instance is down.
    NodeDown {
        /// The node.
        node: NodeId,
    },
    /// A node is out of memory, and the service not important enough.
    BrownOut {
        /// Where.
        node: NodeId,
        /// Memory that its owner measured.
        available_bytes: u64,
        /// Of the service.
        priority: u8,
        /// Priority from which on services are served.
        needs_priority: u8,
    },
}

/// What a limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// All nodes and tenants.
    All,
    /// One node.
    Node(NodeId),
    /// One tenant.
    Tenant(TenantId),
}

impl Blocked {
    /// How long from `now` until this should have changed, as far as that follows from the limit: the next token and
    /// those of all who wait. `None` if it depends on what others do.
    pub fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        match *self {
            Self::StartRate {
                limit,
                free_at,
                waiting,
                ..
            } => {
                let nanos = u64::from(waiting).saturating_mul(1_000_000_000) / limit.per_second.max(1);
                Some(
                    free_at
                        .saturating_since(now)
                        .saturating_add(Duration::from_nanos(nanos)),
                )
            }
            _ => None,
        }
    }

    /// Whether memory that becomes free could change it.
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self, Self::Memory { .. } | Self::Reserved { .. })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all nodes"),
            Self::Node(node) => write!(f, "node {node}"),
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
        }
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Turn { waiting } => write!(f, "waits its turn among {}", Count(waiting, "start")),
            Self::StartRate {
                scope,
                limit,
                free_at,
                waiting,
            } => write!(
                f,
                "starts of {scope} are limited to {limit}: next at {free_at}, {} waiting",
                Count(waiting, "start")
            ),
            Self::Instances {
                tenant,
                instances,
                max_instances,
            } => write!(
                f,
                "tenant {tenant} has {} of at most {max_instances}: one has to fall asleep or end",
                Count(instances, "instance")
            ),
            Self::TenantMemory {
                tenant,
                used_bytes,
                needs_bytes,
                max_bytes,
            } => write!(
                f,
                "tenant {tenant} uses {} of at most {}, {} needed: an instance has to fall asleep or end",
                Bytes(used_bytes),
                Bytes(max_bytes),
                Bytes(needs_bytes)
            ),
            Self::Memory {
                node,
                free_bytes,
                needs_bytes,
                capacity_bytes,
            } => write!(
                f,
                "node {node} has {} of {} free, {} needed: an instance has to fall asleep or end",
                Bytes(free_bytes),
                Bytes(capacity_bytes),
                Bytes(needs_bytes)
            ),
            Self::Reserved {
                node,
                service,
                kept_bytes,
            } => write!(
                f,
                "node {node} keeps {} for service {service}, which waits longer",
                Bytes(kept_bytes)
            ),
            Self::TooLarge {
                needs_bytes,
                largest_bytes,
            } => write!(
                f,
                "{} needed, the largest node has {}: needs a larger node",
                Bytes(needs_bytes),
                Bytes(largest_bytes)
            ),
            Self::NoNode => f.write_str("there is no node"),
            Self::NodeDown { node } => write!(f, "node {node} with its saved state is down"),
            Self::BrownOut {
                node,
                available_bytes,
                priority,
                needs_priority,
            } => write!(
                f,
                "node {node} has {} available: starts from priority {needs_priority} on only, not {priority}",
                Bytes(available_bytes)
            ),
        }
    }
}
