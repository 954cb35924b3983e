use crate::config::ServiceConfig;
use crate::policy::slopes::Slopes;
use crate::policy::{Basis, Cooldown, Idle, Plan, Policy};

/// Goes down the ladder as the lower envelope of what each rung costs does: an idle instance is kept until that has
/// cost as much as the wake it might have saved, T* = c(1 + β) with one rung.
///
/// Learns nothing, and never costs more than twice what one would that knew when the next request comes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SkiRental;

impl Policy for SkiRental {
    fn plan(&mut self, config: &ServiceConfig, _: &Idle) -> Plan {
        Cooldown::pinned(config).unwrap_or_else(|| {
            let slopes = Slopes::of(config, None);
            slopes.plan(&slopes.envelope(), Basis::SkiRental(slopes.break_even()))
        })
    }
}
