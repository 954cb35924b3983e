use core::time::Duration;

use crate::limits::rate::RateLimit;

/// What all services share, and how much of it there is. The default: one node without limits.
/// [`Deployment::validate`](crate::Deployment::validate) refuses what is out of range; a scheduler that is made with it all the
/// same takes the nearest that is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Starts a second, on all nodes. Default: no limit.
    pub starts: Option<RateLimit>,
    /// Bytes a second that parking writes, on all nodes. Default: no limit.
    pub park_bytes: Option<RateLimit>,
    /// Node 0, which is there from the beginning; `NodeUp` changes it, `NodeDown` takes it away. Default: no limits.
    pub node: NodeConfig,
    /// A start that has waited for memory so long has memory kept free for it: others wait then. Default 1 s.
    pub reserve_after: Duration,
    /// For so long at most, for one service of a tenant at a time; then, for as long as it was, nothing is kept on that node, so that
    /// others have it for half of the time at least. What is busy for longer makes no room for a start that needs it. Default 10 s.
    pub reserve_for: Duration,
    /// By how much a waiting start comes before others of its tenant, for each step of priority. Default 100 ms.
    pub priority_step: Duration,
    /// What an instance is given beyond the memory it was measured to have, to write to. Default 16 MiB.
    pub growth_bytes: u64,
    /// An event that comes so long after something was due shows that the owner stood still: gaps, waits and starts that
    /// span it are not learned from. Default 5 s.
    pub stall: Duration,
    /// Parks after it stood still, for all that is due at once then. Default 100 a second, 10 at once.
    pub parks_after_stall: RateLimit,
    /// How far, in thousandths of its length, a pause is made longer or a pre-wake comes earlier at random, so that
    /// what began together does not stay together. Never concerns a request. At most 1,000. Default 0: the limits above
    /// bound a herd without it, while whoever is early or late by it takes memory. With 10,000 services that are called at the
    /// full minute, and 1,000 starts a second, 50 lets them wait a third less, for forty times as much idle memory; where
    /// nothing makes a line, it only costs.
    pub jitter_permille: u16,
    /// What that randomness begins with. Default 0.
    pub seed: u64,
}

/// What a node has. [`Deployment::validate`](crate::Deployment::validate) refuses what is out of range; a scheduler
/// that is told of it all the same takes the nearest that is not, where a field says nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// Memory for instances, asleep or awake. Default: no limit.
    pub memory_bytes: Option<u64>,
    /// In percent of the memory. Above it, what sleeps in RAM is moved to disk; new instances do not go above it, so
    /// that the rest is there for those that wake. At most 100. Default 90.
    pub high_water_percent: u8,
    /// How far that goes on. At most `high_water_percent`. Default 80.
    pub low_water_percent: u8,
    /// Starts a second. Default: no limit.
    pub starts: Option<RateLimit>,
    /// Bytes a second that parking writes. Default: no limit.
    pub park_bytes: Option<RateLimit>,
    /// When memory is almost gone, requests of services below this priority that need a start are shed. Default 100.
    pub shed_below: u8,
}

/// What a tenant may have. The default: an equal share, no limits. With `max_instances` or `max_memory_bytes` 0 nothing
/// of it starts, which [`Deployment::validate`](crate::Deployment::validate) says of the former.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantConfig {
    /// Its share of starts and memory, where there is not enough for all. From 1; 0 counts as 1. Default 1.
    pub weight: u32,
    /// Most instances that are awake or on their way. Default: no limit.
    pub max_instances: Option<u32>,
    /// Most memory. Default: no limit.
    pub max_memory_bytes: Option<u64>,
    /// Starts a second. Default: no limit.
    pub starts: Option<RateLimit>,
    /// Bytes a second that parking writes. Default: no limit.
    pub park_bytes: Option<RateLimit>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            starts: None,
            park_bytes: None,
            node: NodeConfig::default(),
            reserve_after: Duration::from_secs(1),
            reserve_for: Duration::from_secs(10),
            priority_step: Duration::from_millis(100),
            growth_bytes: 16 << 20,
            stall: Duration::from_secs(5),
            parks_after_stall: RateLimit::new(100, 10),
            jitter_permille: 0,
            seed: 0,
        }
    }
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            memory_bytes: None,
            high_water_percent: 90,
            low_water_percent: 80,
            starts: None,
            park_bytes: None,
            shed_below: 100,
        }
    }
}

impl Default for TenantConfig {
    fn default() -> Self {
        Self {
            weight: 1,
            max_instances: None,
            max_memory_bytes: None,
            starts: None,
            park_bytes: None,
        }
    }
}

impl NodeConfig {
    /// A node with so much memory, otherwise without limits.
    pub fn with_memory(memory_bytes: u64) -> Self {
        Self {
            memory_bytes: Some(memory_bytes),
            ..Self::default()
        }
    }

    /// All the memory there is; `u64::MAX` is no limit.
    pub(crate) fn capacity(&self) -> u64 {
        self.memory_bytes.unwrap_or(u64::MAX)
    }

    /// Most memory with another new instance.
    pub(crate) fn high_water(&self) -> u64 {
        percent_of(self.capacity(), self.high_water_percent)
    }

    pub(crate) fn low_water(&self) -> u64 {
        percent_of(
            self.capacity(),
            self.low_water_percent.min(self.high_water_percent),
        )
    }
}

pub(crate) fn percent_of(whole: u64, percent: u8) -> u64 {
    match percent {
        100.. => whole,
        _ if whole == u64::MAX => whole,
        percent => u64::try_from(u128::from(whole) * u128::from(percent) / 100).expect("less than the whole"),
    }
}
