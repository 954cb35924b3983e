//! Requests on their way to an instance: asking for one, and counting what is under way.

use std::sync::Arc;
use std::time::Duration;

use scheduler::{Event, RequestId, ServiceId};

use super::driver::{Controller, Core};
use super::requests::Word;
use crate::host::GuestLink;

/// A request that the scheduler has admitted. Dropping it says that the request is done.
pub struct Admitted {
    request: Queued,
    /// The way to the instance.
    pub link: Arc<dyn GuestLink>,
}

/// A request that the scheduler knows of; dropping it says that it is done, admitted or not.
struct Queued {
    controller: Arc<Controller>,
    service: ServiceId,
    id: RequestId,
}

/// A request was not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControllerError {
    /// The scheduler refused it.
    #[error("no instance serves: {reason}")]
    Shed {
        /// When another try may help.
        retry_after: Duration,
        /// Why, with what the last failed start said.
        reason: String,
    },
    /// The controller has ended.
    #[error("the platform is stopping")]
    Ending,
}

impl Controller {
    /// Asks for an instance of `service`, waking one if none is awake, and waits for it.
    ///
    /// # Errors
    /// None can be had; the error says when another try may help.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the request.
    pub async fn admit(self: &Arc<Self>, service: ServiceId) -> Result<Admitted, ControllerError> {
        if let Some(service) = self.services.get(&service) {
            service.vitals.clock.asked();
        }
        loop {
            let (id, word) = self.core().requests.wait();
            let request = Queued {
                controller: Arc::clone(self),
                service,
                id,
            };
            self.handle(Event::RequestQueued { service, request: id });
            match word.await {
                Ok(Word::Admitted(link)) => return Ok(Admitted { request, link }),
                Ok(Word::Refused { retry_after, reason }) => {
                    return Err(ControllerError::Shed { retry_after, reason });
                }
                // Nothing of it has reached the instance: it asks again, as if it came now.
                Ok(Word::Died) => {}
                Err(_) => return Err(ControllerError::Ending),
            }
        }
    }

    /// Exchanges with `service` begin; there were none before.
    pub fn busy(self: &Arc<Self>, service: ServiceId) {
        let request = {
            let mut core = self.core();
            let request = core.requests.id();
            core.busy.insert(service, request);
            request
        };
        self.handle_in_lock(Event::RequestQueued { service, request });
    }

    /// The last exchange with `service` has ended.
    pub fn quiet(self: &Arc<Self>, service: ServiceId) {
        let request = {
            let (mut core, now) = (self.core(), self.now());
            let Core { newest, running, .. } = &mut *core;
            if let Some(running) = newest
                .get(&service)
                .and_then(|instance| running.get_mut(instance))
            {
                running.attended = now;
            }
            core.busy.remove(&service)
        };
        if let Some(request) = request {
            self.handle_in_lock(Event::RequestDone { service, request });
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        let Self {
            controller,
            service,
            id,
        } = self;
        controller.core().requests.forget(*id);
        controller.handle(Event::RequestDone {
            service: *service,
            request: *id,
        });
    }
}

impl std::fmt::Debug for Admitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admitted")
            .field("request", &self.request.id)
            .finish_non_exhaustive()
    }
}
