use core::time::Duration;

use crate::config::ServiceConfig;
use crate::policy::{Idle, Policy};

/// Parks an instance once it has been idle for the [`cooldown`](ServiceConfig::cooldown) of its service.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cooldown;

impl Policy for Cooldown {
    fn keep_awake(&mut self, config: &ServiceConfig, _: &Idle) -> Option<Duration> {
        config.cooldown
    }
}
