//! Doing what the scheduler has decided, and telling it what came of it.

use std::sync::Arc;
use std::time::Duration;

use scheduler::{Action, Command, Epoch, Event, InstanceId, ServiceId, StartKind, Timestamp};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::driver::{Controller, Running, Service};
use super::requests::Word;
use super::status::Activity;
use crate::host::{Fate, HostError, Parked, Started};

/// Between two attempts to restore an instance for which something was missing.
const RESTORE_PAUSE: Duration = Duration::from_millis(20);

/// The proxy's side of parking: whoever has closed the gate knows that no request is on its way to the instance.
pub trait ParkGate: Send + Sync + 'static {
    /// Holds back what arrives from now on, if nothing is going on and nothing was for `quiet_for`.
    ///
    /// # Errors
    /// Something is, or was so long ago.
    fn close(&self, quiet_for: Duration) -> Result<Box<dyn ClosedGate>, Duration>;

    /// The instance died: its connections are of no use any more.
    fn lost(&self, reason: &str);
}

/// A closed gate. Dropping it opens it again, to the same instance.
pub trait ClosedGate: Send {
    /// The instance sleeps: what has arrived meanwhile, or arrives later, wakes it.
    fn asleep(self: Box<Self>);
}

/// One instance in one epoch.
#[derive(Clone, Copy)]
struct Run {
    service: ServiceId,
    instance: InstanceId,
    epoch: Epoch,
}

impl Controller {
    pub(super) fn perform(self: &Arc<Self>, action: Action) {
        debug!(service = action.service.0, action = %action, "decided");
        let id = action.service;
        let Some(service) = self.services.get(&id) else {
            return;
        };
        match action.command {
            Command::Start {
                instance,
                epoch,
                kind,
                ..
            } => {
                let run = Run {
                    service: id,
                    instance,
                    epoch,
                };
                service.board.update(|status| status.activity = Activity::Waking);
                self.core().starting.insert(instance);
                match kind {
                    StartKind::Restore => match service.host.restore(instance) {
                        Err(error) if error.fate == Fate::Kept => self.restore_later(run, service, error),
                        started => self.on_started(run, kind, started),
                    },
                    _ => self.boot(run, service),
                }
            }
            Command::Park { instance, epoch, .. } => self.park(
                Run {
                    service: id,
                    instance,
                    epoch,
                },
                service,
            ),
            Command::Stop { instance, epoch } => {
                // One that is still being started is stopped when that is done.
                let starting = {
                    let mut core = self.core();
                    core.running.remove(&instance);
                    core.starting.remove(&instance)
                };
                if !starting {
                    service.host.stop(instance);
                }
                service.board.update(|status| status.activity = Activity::Asleep);
                self.handle(Event::InstanceExited {
                    service: id,
                    instance,
                    epoch,
                });
            }
            Command::Admit {
                request, instance, ..
            } => {
                let mut core = self.core();
                // It may have died since this was decided.
                let word = core
                    .running
                    .get(&instance)
                    .map_or(Word::Died, |running| Word::Admitted(Arc::clone(&running.link)));
                core.requests.answer(request, word);
            }
            Command::Shed { request, retry_after } => {
                let failure = service.board.last_failure();
                let reason = match failure {
                    Some(failure) => format!("{}; {failure}", action.reason),
                    None => action.reason.to_string(),
                };
                self.core()
                    .requests
                    .answer(request, Word::Refused { retry_after, reason });
            }
            _ => warn!(%action, "an action that this platform does not know"),
        }
    }

    /// Tries again what has failed for want of something, until the scheduler gives it up.
    fn restore_later(self: &Arc<Self>, run: Run, service: &Service, error: HostError) {
        warn!(
            error = error.report(),
            "an instance cannot be restored now; trying again"
        );
        let (controller, host) = (Arc::clone(self), Arc::clone(&service.host));
        self.tasks.spawn(async move {
            let mut failed = error;
            while controller.core().starting.contains(&run.instance) {
                tokio::time::sleep(RESTORE_PAUSE).await;
                let (host, instance) = (Arc::clone(&host), run.instance);
                let restored = tokio::task::spawn_blocking(move || host.restore(instance)).await;
                match restored.unwrap_or_else(|panicked| Err(HostError::new("restore", instance, panicked))) {
                    Err(error) if error.fate == Fate::Kept => failed = error,
                    started => return controller.on_started(run, StartKind::Restore, started),
                }
            }
            // The scheduler has ended it meanwhile.
            host.stop(run.instance);
            if let Some(service) = controller.services.get(&run.service) {
                service.board.failed(failed.report());
            }
        });
    }

    fn boot(self: &Arc<Self>, run: Run, service: &Service) {
        let (host, instance) = (Arc::clone(&service.host), run.instance);
        self.beside(
            move || host.boot(instance),
            move |controller, booted| {
                let booted =
                    booted.unwrap_or_else(|panicked| Err(HostError::new("boot", instance, panicked)));
                controller.on_started(run, StartKind::Boot, booted);
            },
        );
    }

    fn on_started(self: &Arc<Self>, run: Run, kind: StartKind, started: Result<Started, HostError>) {
        let Run {
            service: id,
            instance,
            epoch,
        } = run;
        let Some(service) = self.services.get(&id) else {
            return;
        };
        let wanted = {
            // In one: whoever stops it finds it in one of the two.
            let mut core = self.core();
            let wanted = core.starting.remove(&instance);
            if let (true, Ok(Started { link, .. })) = (wanted, &started) {
                let link = Arc::clone(link);
                core.running.insert(instance, Running { link, epoch });
            }
            wanted
        };
        if !wanted {
            warn!(
                service = id.0,
                instance = instance.0,
                "an instance was started too late and is stopped"
            );
            service.host.stop(instance);
            return;
        }
        match started {
            Ok(Started {
                died, load, restore, ..
            }) => {
                service.clock.started(load, restore);
                service.board.started(|status| match kind {
                    StartKind::Restore => status.restores += 1,
                    _ => status.boots += 1,
                });
                self.handle(Event::InstanceReady {
                    service: id,
                    instance,
                    epoch,
                });
                self.watch(run, died);
            }
            Err(error) => {
                warn!(error = error.report(), "an instance could not be started");
                service.clock.gave_up();
                service.board.failed(error.report());
                if let Some(gate) = service.gate() {
                    // What was saved is gone, and with it the connections that were kept across the sleep.
                    gate.lost(&error.report());
                }
                self.handle(Event::InstanceFailed {
                    service: id,
                    instance,
                    epoch,
                });
            }
        }
    }

    /// Waits for the instance's death, until it is asleep or stopped.
    fn watch(self: &Arc<Self>, run: Run, died: oneshot::Receiver<String>) {
        let controller = Arc::clone(self);
        self.watches.spawn(async move {
            if let Ok(reason) = died.await {
                controller.on_died(run.service, run.instance, &reason);
            }
        });
    }

    /// Told by whoever notices first: the one who watches the instance, or the host that was to park it.
    fn on_died(self: &Arc<Self>, id: ServiceId, instance: InstanceId, reason: &str) {
        let Some(service) = self.services.get(&id) else {
            return;
        };
        let Some(mine) = self.gone(instance, |epoch| Event::InstanceExited {
            service: id,
            instance,
            epoch,
        }) else {
            return;
        };
        warn!(service = id.0, instance = instance.0, reason, "an instance died");
        service.host.stop(instance);
        service.clock.gave_up();
        service.board.update(|status| {
            status.activity = Activity::Asleep;
            status.deaths += 1;
        });
        if let Some(gate) = service.gate() {
            gate.lost(reason);
        }
        if mine {
            self.execute();
        }
    }

    fn park(self: &Arc<Self>, run: Run, service: &Service) {
        let Run {
            service: id,
            instance,
            epoch,
        } = run;
        let known = self
            .core()
            .running
            .get_mut(&instance)
            .map(|running| running.epoch = epoch);
        if known.is_none() {
            // Its death is known, but the scheduler had decided before it was.
            return self.handle(Event::InstanceExited {
                service: id,
                instance,
                epoch,
            });
        }
        let refuse = |last_activity| {
            service.board.update(|status| status.parks_refused += 1);
            self.handle(Event::ParkRefused {
                service: id,
                instance,
                epoch,
                last_activity,
            });
        };
        let Some(gate) = service.gate() else {
            return refuse(self.now());
        };
        let closed = match gate.close(service.cooldown) {
            Ok(closed) => closed,
            Err(age) => return refuse(self.ago(age)),
        };
        service.board.update(|status| status.activity = Activity::Parking);
        let host = Arc::clone(&service.host);
        self.beside(
            move || host.park(instance),
            move |controller, parked| {
                let parked =
                    parked.unwrap_or_else(|panicked| Err(HostError::new("park", instance, panicked)));
                controller.on_parked(run, parked, closed);
            },
        );
    }

    fn on_parked(self: &Arc<Self>, run: Run, parked: Result<Parked, HostError>, closed: Box<dyn ClosedGate>) {
        let Run {
            service: id,
            instance,
            epoch,
        } = run;
        let Some(service) = self.services.get(&id) else {
            return;
        };
        match parked {
            Ok(Parked::Asleep { saved_bytes, .. }) => {
                let mine = self.gone(instance, |_| Event::InstanceParked {
                    service: id,
                    instance,
                    epoch,
                    written_bytes: 0,
                });
                service.board.update(|status| {
                    status.activity = Activity::Asleep;
                    status.parks += 1;
                    status.saved_bytes = saved_bytes;
                });
                if mine == Some(true) {
                    self.execute();
                }
                closed.asleep();
            }
            Ok(Parked::Busy) => {
                service.board.update(|status| {
                    status.activity = Activity::Awake;
                    status.parks_refused += 1;
                });
                let last_activity = self.now();
                self.handle(Event::ParkRefused {
                    service: id,
                    instance,
                    epoch,
                    last_activity,
                });
                drop(closed);
            }
            Err(error) => {
                drop(closed);
                self.on_died(id, instance, &error.report());
            }
        }
    }

    /// Takes an instance out of those that run, and tells the scheduler in one with that; `event` is given the epoch of its last
    /// command. Says whether it is the caller's turn to execute, or `None` if it ran no more.
    fn gone(&self, instance: InstanceId, event: impl FnOnce(Epoch) -> Event) -> Option<bool> {
        let mut core = self.core();
        let Running { epoch, .. } = core.running.remove(&instance)?;
        Some(self.decide_with(&mut core, event(epoch)))
    }

    fn ago(&self, age: Duration) -> Timestamp {
        let since_origin = self.now().saturating_since(Timestamp::ZERO);
        Timestamp::ZERO + since_origin.saturating_sub(age)
    }
}
