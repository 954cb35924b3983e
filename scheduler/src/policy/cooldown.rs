use core::time::Duration;

use crate::config::ServiceConfig;
use crate::ladder::Rung;
use crate::policy::{Basis, Idle, Plan, Policy};

/// Parks an instance once it has been idle for the [`cooldown`](ServiceConfig::cooldown) of its service, or 100 ms
/// where none is pinned, at the [`park_level`](ServiceConfig::park_level).
#[derive(Clone, Copy, Debug, Default)]
pub struct Cooldown;

impl Cooldown {
    /// The cooldown of a service that pins none.
    pub const DEFAULT: Duration = Duration::from_millis(100);

    /// The plan of a service that pins its cooldown: what every policy does for it.
    pub fn pinned(config: &ServiceConfig) -> Option<Plan> {
        let plan = |cooldown| Plan::stay(Basis::Cooldown).then(Rung::Park(config.park_level), cooldown);
        config.cooldown.map(plan)
    }
}

impl Policy for Cooldown {
    fn plan(&mut self, config: &ServiceConfig, _: &Idle) -> Plan {
        let default = || Plan::stay(Basis::Cooldown).then(Rung::Park(config.park_level), Self::DEFAULT);
        Self::pinned(config).unwrap_or_else(default)
    }
}
