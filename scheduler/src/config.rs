mod builder;
mod scale_to_zero;
mod validate;

pub use builder::ServiceConfigBuilder;
pub use scale_to_zero::{ScaleToZero, UnknownScaleToZero};

use alloc::sync::Arc;
use core::ops::Deref;
use core::time::Duration;

use crate::action::ParkLevel;
use crate::fleet::Slots;
use crate::ids::TenantId;
use crate::ladder::LadderConfig;
use crate::scale::ScaleConfig;

/// How one service scales. The default: one instance, started on demand, parked when the policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Instances that are awake always; at most `max_instances` and [`MAX_AWAKE`](Self::MAX_AWAKE). Default 0: scale to zero.
    pub min_instances: u32,
    /// Most instances, asleep or awake, those being stopped not counted. From 1. Default 1.
    pub max_instances: u32,
    /// Most requests in flight on an instance, a hard limit. From 1. Default `u32::MAX`: no limit.
    pub concurrency: u32,
    /// Pins how long an instance stays awake after its last activity, whatever the policy: at least 1 ms;
    /// `Duration::MAX` is for ever. Default: the policy decides.
    pub cooldown: Option<Duration>,
    /// Whether a quiet connection keeps its instance awake. Default: it does not.
    pub connections: OpenConnections,
    /// How deeply an idle instance sleeps. Default: in RAM.
    pub park_level: ParkLevel,
    /// What a policy weighs, and where else an idle instance may sleep.
    pub ladder: LadderConfig,
    /// How many instances are awake besides those that requests start.
    pub scale: ScaleConfig,
    /// What a new instance is started from. Default: its image.
    pub start_from: StartSource,
    /// What an instance needs, and whose it is.
    pub resources: ResourceConfig,
    /// Bounds of waiting.
    pub queue: QueueConfig,
    /// Patience with starts.
    pub start: StartConfig,
    /// Which version of the configuration this is: one that is older than what a service has is ignored, unless
    /// the service was removed: it may begin anew. Default 0.
    pub generation: u64,
}

/// What an instance needs of what all services share, and who gets it first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceConfig {
    /// Most memory of an instance, at most 16 TiB. Default 0: not known, and not counted until it is measured; parking it
    /// then counts as a burst of writing at most.
    pub memory_bytes: u64,
    /// Whose service it is. Default tenant 0.
    pub tenant: TenantId,
    /// Who comes first among the services of a tenant, the greater the earlier; and who is shed when memory is almost
    /// gone. Default 100.
    pub priority: u8,
}

/// Whether an open connection on which nothing moves keeps its instance awake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenConnections {
    /// Only bytes keep it awake; the connection stays open across the sleep, and its next bytes wake the instance.
    #[default]
    ParkWhenQuiet,
    /// Every open connection keeps it awake.
    KeepAwake,
}

/// What a new instance of a service can be started from. A parked instance always has its own saved state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartSource {
    /// Only the image: boot.
    #[default]
    Image,
    /// A snapshot of the service: restore; if that fails, boot.
    Snapshot,
    /// The oldest instance of the service that runs on the node: clone it; if there is none, or that fails, boot. One that
    /// sleeps is woken instead.
    Instance,
}

/// Bounds of waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Most requests that wait; those that come then are shed. From 1. Default 1,024.
    pub max_waiting: u32,
    /// Longest wait of a request; then it is shed. At least 1 ms. Default 30 s.
    pub max_wait: Duration,
    /// What a client is told that was shed because of these bounds. Default 1 s.
    pub retry_after: Duration,
}

/// Patience with starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartConfig {
    /// Longest time from `Start` to its answer. At least 1 ms. Default 10 s.
    pub timeout: Duration,
    /// Failures in a row after which the requests that wait are shed, unless another instance is awake or on its way.
    /// An instance that dies unasked counts as a failure. From 1. Default 3.
    pub attempts: u32,
    /// Pause after the first failure, doubled by each further one in a row. At least 1 ms. Default 10 ms.
    pub retry_first: Duration,
    /// Longest pause. At least `retry_first`. Default 10 s.
    pub retry_cap: Duration,
    /// Whether an instance that ended by itself is replaced although nobody waits. Default: always.
    pub restart: Restart,
}

/// Whether one of `min_instances` that ended by itself is replaced, after the pause. Where it is not, that is made up
/// for when the service is configured again; requests start what they need all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Restart {
    /// However it ended.
    #[default]
    Always,
    /// Unless it said that it was done.
    OnFailure,
    /// Never.
    Never,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            min_instances: 0,
            max_instances: 1,
            concurrency: u32::MAX,
            cooldown: None,
            connections: OpenConnections::default(),
            park_level: ParkLevel::default(),
            ladder: LadderConfig::default(),
            scale: ScaleConfig::default(),
            start_from: StartSource::default(),
            resources: ResourceConfig::default(),
            queue: QueueConfig::default(),
            start: StartConfig::default(),
            generation: 0,
        }
    }
}

impl Default for ResourceConfig {
    fn default() -> Self {
        Self {
            memory_bytes: 0,
            tenant: TenantId(0),
            priority: 100,
        }
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            max_waiting: 1_024,
            max_wait: Duration::from_secs(30),
            retry_after: Duration::from_secs(1),
        }
    }
}

impl Default for StartConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            attempts: 3,
            retry_first: Duration::from_millis(10),
            retry_cap: Duration::from_secs(10),
            restart: Restart::default(),
        }
    }
}

impl ResourceConfig {
    /// No instance has more memory than this, 16 TiB, declared or measured: so much that sums of it never overflow.
    pub const MAX_MEMORY_BYTES: u64 = 1 << 44;
}

impl StartConfig {
    /// The pause after so many failures in a row.
    pub(crate) fn backoff(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.retry_first
            .saturating_mul(1 << doublings)
            .min(self.retry_cap)
    }
}

impl ServiceConfig {
    /// Most instances of a service that are kept awake, whatever its configuration and count ask for: so many starts take
    /// some 20 ms to decide. Requests start more.
    pub const MAX_AWAKE: u32 = 10_000;

    pub(crate) fn slots(&self) -> Slots {
        Slots {
            hard: self.concurrency,
            soft: self.scale.soft_concurrency,
        }
    }
}

/// A configuration that passed [`ServiceConfig::validate`]. Clones share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValidConfig(Arc<ServiceConfig>);

impl Deref for ValidConfig {
    type Target = ServiceConfig;

    fn deref(&self) -> &ServiceConfig {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_cap() {
        let start = StartConfig::default();
        let pauses: Vec<_> = [1, 2, 3, 11, 40, u32::MAX]
            .map(|n| start.backoff(n).as_millis())
            .into();
        assert_eq!(pauses, [10, 20, 40, 10_000, 10_000, 10_000]);
    }
}
