//! Between proxy and controller: what wakes a service, how its guest is reached, and who is told.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proxy_buffer::{
    ActivateError, Activator, Asked, Epoch, HoldError, Observer, ParkPermit, Party, TargetHandle, TargetState,
};
use scheduler::ServiceId;
use tracing::warn;

use crate::controller::{ClosedGate, Controller, ControllerError, ParkGate};
use crate::guest_stream::{Doors, Guest};

/// A connection that ends so long after its request was not ended by a guest that works: a link gives up one that takes nothing
/// after 102 s.
pub(crate) const SILENCE: Duration = Duration::from_secs(100);

/// Wakes services through the controller.
pub(crate) struct ServiceActivator {
    pub(crate) controller: Arc<Controller>,
    pub(crate) doors: Arc<Doors>,
}

impl Activator for ServiceActivator {
    type Key = ServiceId;
    type Backend = Guest;

    async fn activate(&self, service: &ServiceId) -> Result<Guest, ActivateError> {
        let Some(vitals) = self.controller.vitals(*service) else {
            return Err(ActivateError::new("there is no such service"));
        };
        // The admission ends here: while exchanges are under way, `busy` speaks for all of them.
        match self.controller.admit(*service).await {
            Ok(admitted) => Ok(Guest {
                link: Arc::clone(&admitted.link),
                vitals: Arc::clone(vitals),
                doors: Arc::clone(&self.doors),
            }),
            Err(error) => {
                let refused = ActivateError::new(error.to_string());
                Err(match error {
                    ControllerError::Shed { retry_after, .. } => refused.with_retry_after(retry_after),
                    ControllerError::Ending => refused,
                })
            }
        }
    }
}

/// Tells the controller when services are busy and quiet, and the clocks when something is held.
pub(crate) struct ServiceObserver {
    pub(crate) controller: Arc<Controller>,
}

impl Observer<ServiceId> for ServiceObserver {
    fn held(&self, service: &ServiceId) {
        if let Some(vitals) = self.controller.vitals(*service) {
            vitals.clock.held();
        }
    }

    fn refused(&self, service: &ServiceId, why: &HoldError, _: Duration) {
        // After anything but a whole request a guest that works may wait for more.
        let waited = match why {
            HoldError::AnswerTimeOver {
                waiting_for: Party::Target,
                asked: Asked::Request,
                waited,
            } => *waited,
            HoldError::BackendClosed {
                asked: Asked::Request,
                waited,
            } if *waited >= SILENCE => *waited,
            _ => return,
        };
        self.controller.answer_timed_out(*service, waited);
    }

    fn activation_cancelled(&self, service: &ServiceId, _: Epoch, _: Duration) {
        if let Some(vitals) = self.controller.vitals(*service) {
            vitals.clock.gave_up();
        }
    }

    fn park_aborted(&self, service: &ServiceId) {
        if let Some(vitals) = self.controller.vitals(*service) {
            vitals.clock.gave_up();
        }
    }

    fn accept_failed(&self, service: &ServiceId, error: &io::Error) {
        // The proxy tells at most once a second, so this cannot flood.
        warn!(service = service.0, %error, "cannot accept a connection; if descriptors have run out, raise `ulimit -n`");
    }

    fn busy(&self, service: &ServiceId, _: Instant) {
        self.controller.busy(*service);
    }

    fn quiet(&self, service: &ServiceId, _: Instant, _: Duration) {
        self.controller.quiet(*service);
    }
}

/// A target of the proxy as the gate that the controller closes.
pub(crate) struct TargetGate(pub(crate) TargetHandle<ServiceActivator>);

impl ParkGate for TargetGate {
    fn close(&self, quiet_for: Duration) -> Result<Box<dyn ClosedGate>, Duration> {
        match self.0.try_park(quiet_for) {
            Ok(permit) => Ok(Box::new(Closed(permit))),
            // Everybody left while the instance woke: the gate never opened for it, and asks before it does.
            Err(busy) if busy.state == TargetState::Asleep => Ok(Box::new(NeverOpened)),
            Err(busy) => Err(busy.last_activity_age),
        }
    }

    fn lost(&self, reason: &str) {
        self.0.backend_lost(reason);
    }
}

struct Closed(ParkPermit<ServiceActivator>);

impl ClosedGate for Closed {
    fn asleep(self: Box<Self>) {
        self.0.parked();
    }
}

struct NeverOpened;

impl ClosedGate for NeverOpened {
    fn asleep(self: Box<Self>) {}
}
