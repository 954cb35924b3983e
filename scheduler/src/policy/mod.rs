mod cooldown;

pub use cooldown::Cooldown;

use core::time::Duration;

use crate::config::ServiceConfig;
use crate::ids::{InstanceId, ServiceId};
use crate::time::Timestamp;

/// Decides when an idle instance is parked.
///
/// One policy serves all services of a scheduler; what it learns it keeps in itself, by [`ServiceId`], where its
/// owner can save it. It must be as deterministic as the scheduler: no clock, no randomness, no hash-map order.
pub trait Policy {
    /// How long, from `idle.since`, the instance is kept awake; `None` is for ever. Zero parks it at once,
    /// and asks an owner that refuses to park at once again.
    ///
    /// Asked each time an instance falls idle, and again when its service is configured.
    fn keep_awake(&mut self, config: &ServiceConfig, idle: &Idle) -> Option<Duration>;
}

/// An instance with nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Idle {
    /// Its service.
    pub service: ServiceId,
    /// The instance.
    pub instance: InstanceId,
    /// When it was last busy.
    pub since: Timestamp,
    /// Instances of the service that run, this one included.
    pub awake: u32,
}
