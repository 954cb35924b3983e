mod basis;
mod cooldown;
mod gaps;
mod learned;
mod measured;
mod observation;
mod periodic;
mod plan;
mod saved;
mod ski_rental;
mod slopes;
mod weights;

pub use basis::{Basis, Bound, BreakEven};
pub use cooldown::Cooldown;
pub use learned::LearnedSki;
pub use observation::{Observation, Seen};
pub use plan::{Idle, Plan, Prewake, Rhythm};
pub use saved::RestoreError;
pub use ski_rental::SkiRental;

use alloc::vec::Vec;

use crate::config::ServiceConfig;
use crate::ids::ServiceId;

/// Decides how idle instances fall asleep, and when one wakes before it is asked for.
///
/// One policy serves all services of a scheduler; what it learns it keeps in itself, by [`ServiceId`], where its
/// owner can save it. It must be as deterministic as the scheduler: no clock, no randomness, no hash-map order.
pub trait Policy {
    /// How the instance goes down the ladder while nobody comes. A plan that parks at once asks an owner that
    /// refuses to park at once again.
    ///
    /// Asked each time an instance falls idle, and again when its service is configured. Its pre-wake counts while no
    /// instance of the service is needed, until the next request comes or the next plan is made.
    ///
    /// A pinned [`cooldown`](ServiceConfig::cooldown) is for the policy to obey: [`Cooldown`] knows how.
    fn plan(&mut self, config: &ServiceConfig, idle: &Idle) -> Plan;

    /// Learns from what was seen. The default learns nothing.
    fn observe(&mut self, _config: &ServiceConfig, _seen: &Observation) {}

    /// Nobody looked for a while: the owner stood still for longer than [`stall`](crate::LimitsConfig::stall), or the policy
    /// was restored and goes on under another scheduler, whose clock may begin anew. What is under way in any service has no
    /// length that could be learned. The default has nothing under way.
    fn interrupted(&mut self) {}

    /// The service is gone: what was learned about it is not wanted any more.
    fn forget(&mut self, _service: ServiceId) {}

    /// Memory that holds what was learned about a service, in bytes; 0 if that is nothing, which is the default.
    fn learned_bytes(&self, _service: ServiceId) -> usize {
        0
    }

    /// Appends what was learned. The default has nothing to save.
    fn save(&self, _out: &mut Vec<u8>) {}

    /// Takes back what was saved, in the place of everything learned since. The default takes no bytes. What it is about may
    /// be gone: a [`ServiceRemoved`](crate::Event::ServiceRemoved) makes it forget that.
    ///
    /// # Errors
    /// The bytes were not saved by this kind of policy, by a version it does not know, or are damaged. It then stays
    /// as it was; starting without them is safe.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        if bytes.is_empty() {
            Ok(())
        } else {
            Err(RestoreError::Foreign)
        }
    }
}
