//! A service as it is set up, and as the controller keeps it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use scheduler::{ServiceId, ValidConfig};

use super::execute::ParkGate;
use super::status::StatusBoard;
use crate::host::InstanceHost;
use crate::vitals::Vitals;

/// A service for the controller to run.
pub struct ServiceSetup {
    /// Its name in the scheduler.
    pub id: ServiceId,
    /// How it scales.
    pub config: ValidConfig,
    /// Where its instances live.
    pub host: Arc<dyn InstanceHost>,
    /// An instance that is not quiet is parked as it is when nobody has waited for it for so long; `None` is never.
    pub unattended: Option<Duration>,
    vitals: Arc<Vitals>,
}

impl ServiceSetup {
    /// A service that scales as `config` says, with its instances in `host`, and parks none that is not quiet.
    #[must_use]
    pub fn new(id: ServiceId, config: ValidConfig, host: Arc<dyn InstanceHost>) -> Self {
        Self {
            id,
            config,
            host,
            unattended: None,
            vitals: Arc::new(Vitals::new()),
        }
    }

    pub(super) fn into_service(self) -> (ServiceId, ValidConfig, Service) {
        let service = Service {
            host: self.host,
            gate: Mutex::new(None),
            cooldown: self.config.cooldown.unwrap_or_default(),
            unattended: self.unattended,
            board: StatusBoard::new(),
            vitals: self.vitals,
        };
        (self.id, self.config, service)
    }
}

/// A service as the controller keeps it.
pub(super) struct Service {
    pub(super) host: Arc<dyn InstanceHost>,
    /// Taken away in the end: the proxy behind it holds the controller.
    gate: Mutex<Option<Arc<dyn ParkGate>>>,
    /// How long the proxy must have seen nothing before a park; zero where the scheduler's policy says when that is.
    pub(super) cooldown: Duration,
    pub(super) unattended: Option<Duration>,
    pub(super) board: StatusBoard,
    pub(super) vitals: Arc<Vitals>,
}

impl Service {
    /// The gate, for as long as there is one.
    pub(super) fn gate(&self) -> Option<Arc<dyn ParkGate>> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_gate(&self, gate: Option<Arc<dyn ParkGate>>) {
        let mut place = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *place, gate);
        drop(place);
        drop(before);
    }
}

impl std::fmt::Debug for ServiceSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceSetup")
            .field("id", &self.id)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
