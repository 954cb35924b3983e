mod codec;
mod hedge;
mod learner;
mod level;
mod saved;

use alloc::vec::Vec;

use crate::config::ServiceConfig;
use crate::ids::ServiceId;
use crate::policy::learned::learner::Learner;
use crate::policy::{Cooldown, Idle, Observation, Plan, Policy, RestoreError};
use crate::registry::Registry;

/// Ski rental that learns: for each service, how long its instances stay unused, by how many of them are in use; what
/// waking and parking cost; and who calls at the same intervals, for whom an instance is woken in time.
///
/// It is given c, the time to wake, and β, by [`LadderConfig`](crate::LadderConfig); c is measured unless it is pinned.
/// A time is chosen so that the gaps seen would have cost least, and lies between T*/128 and T*, the one of
/// [`SkiRental`](crate::SkiRental); so whatever comes, it costs at most 129 times what knowing the future would. When it costs more than twice
/// that over the last few hundred break-evens, and more than T* would have, T* is used until that changes. Gaps are seen
/// whatever is done, as if no instance ever slept, so a bad choice does not hide what would have been better.
///
/// Work per event is bounded by the bins and levels of the service, some microseconds, and 0.2 µs as a rule; memory is bounded
/// too: 280 bytes for a service called once, 400 for most others.
#[derive(Debug, Default)]
pub struct LearnedSki {
    learners: Registry<Learner>,
}

impl LearnedSki {
    /// One that knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Services of which something was learned. Of those restored that are not there any more, tell
    /// [`ServiceRemoved`](crate::Event::ServiceRemoved), or it is kept, and saved, for ever.
    pub fn services(&self) -> impl Iterator<Item = ServiceId> {
        self.learners.iter().map(|(id, _)| id)
    }

    fn learner(&mut self, service: ServiceId) -> &mut Learner {
        self.learners.get_or_insert(service, |_| Learner::default())
    }
}

impl Policy for LearnedSki {
    fn plan(&mut self, config: &ServiceConfig, idle: &Idle) -> Plan {
        Cooldown::pinned(config).unwrap_or_else(|| self.learner(idle.service).plan(config, idle))
    }

    fn observe(&mut self, config: &ServiceConfig, seen: &Observation) {
        if config.cooldown.is_none() {
            self.learner(seen.service).observe(config, seen);
        }
    }

    fn interrupted(&mut self) {
        self.learners.values_mut().for_each(Learner::interrupt);
    }

    fn forget(&mut self, service: ServiceId) {
        self.learners.remove(service);
    }

    fn learned_bytes(&self, service: ServiceId) -> usize {
        self.learners.get(service).map_or(0, Learner::bytes)
    }

    fn save(&self, out: &mut Vec<u8>) {
        saved::save(&self.learners, out);
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.learners = saved::restore(bytes)?;
        Ok(())
    }
}
