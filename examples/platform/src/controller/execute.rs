//! Doing what the scheduler has decided, and telling it what came of it.

use std::sync::Arc;
use std::time::Duration;

use scheduler::{Action, Command, InstanceId, StartKind, Timestamp};
use tracing::{debug, info, warn};

use super::driver::{Controller, Running};
use super::fall::Fallen;
use super::requests::Word;
use super::run::Run;
use super::service::Service;
use super::status::Activity;
use crate::host::{Fate, HostError, ParkMode, Parked, Started};

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

impl Controller {
    pub(super) fn perform(self: &Arc<Self>, action: Action) {
        debug!(service = action.service.0, action = %action, "decided");
        let id = action.service;
        let Some(service) = self.services.get(&id) else {
            return;
        };
        let run = |instance, epoch| Run {
            service: id,
            instance,
            epoch,
        };
        match action.command {
            Command::Start {
                instance,
                epoch,
                kind,
                ..
            } => {
                let run = run(instance, epoch);
                match kind {
                    StartKind::Restore => self.restore(run, service),
                    StartKind::Boot => self.boot(run, service),
                    StartKind::Clone { of } => {
                        // The scheduler boots one instead, and why says so.
                        debug!(instance = instance.0, of = of.0, "this platform clones nothing");
                        self.handle(run.failed());
                    }
                    _ => {
                        warn!(%action, "a way to start that this platform does not know");
                        self.handle(run.failed());
                    }
                }
            }
            Command::Park { instance, epoch, .. } => self.park(run(instance, epoch), service),
            Command::Stop { instance, epoch } => {
                // One that is still being started is stopped when that is done.
                let starting = {
                    let mut core = self.core();
                    core.running.remove(&instance);
                    core.starting.remove(&instance)
                };
                if !starting {
                    self.stop(service, instance);
                }
                service.board.update(|status| status.activity = Activity::Asleep);
                self.handle(run(instance, epoch).exited());
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

    fn begin(&self, run: Run, service: &Service) {
        service.board.update(|status| status.activity = Activity::Waking);
        self.core().starting.insert(run.instance);
    }

    fn restore(self: &Arc<Self>, run: Run, service: &Service) {
        self.begin(run, service);
        match service.host.restore(run.instance) {
            Err(error) if error.fate == Fate::Kept => self.restore_later(run, service, error),
            started => self.on_started(run, StartKind::Restore, started),
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
            if let Some(service) = controller.services.get(&run.service) {
                controller.stop(service, run.instance);
                service.board.failed(failed.report());
            }
        });
    }

    fn boot(self: &Arc<Self>, run: Run, service: &Service) {
        self.begin(run, service);
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
        let mut is_new = false;
        let wanted = {
            // In one: whoever stops it finds it in one of the two.
            let mut core = self.core();
            let wanted = core.starting.remove(&instance);
            if let (true, Ok(Started { link, .. })) = (wanted, &started) {
                let link = Arc::clone(link);
                let running = Running {
                    link,
                    epoch,
                    parking: false,
                    attended: self.now(),
                };
                core.running.insert(instance, running);
                is_new = core.newest.insert(id, instance) != Some(instance);
            }
            wanted
        };
        if !wanted {
            warn!(
                service = id.0,
                instance = instance.0,
                "an instance was started too late and is stopped"
            );
            self.stop(service, instance);
            return;
        }
        match started {
            Ok(Started {
                died, load, restore, ..
            }) => {
                if is_new {
                    service.vitals.pulse.begins();
                }
                service.vitals.clock.started(load, restore);
                service.board.started(|status| match kind {
                    StartKind::Restore => status.restores += 1,
                    _ => status.boots += 1,
                });
                self.handle(run.ready());
                self.watch(run, died);
            }
            Err(error) => {
                warn!(error = error.report(), "an instance could not be started");
                service.vitals.clock.gave_up();
                service.board.failed(error.report());
                if let Some(gate) = service.gate() {
                    // What was saved is gone, and with it the connections that were kept across the sleep.
                    gate.lost(&error.report());
                }
                self.put_aside(service);
                self.handle(run.failed());
            }
        }
    }

    fn park(self: &Arc<Self>, run: Run, service: &Service) {
        let Run { instance, epoch, .. } = run;
        let known = self.core().running.get_mut(&instance).map(|running| {
            running.epoch = epoch;
            running.parking = true;
            running.attended
        });
        let Some(attended) = known else {
            // Its death is known, but the scheduler had decided before it was.
            return self.handle(run.exited());
        };
        let refuse = |last_activity| {
            service.board.update(|status| status.parks_refused += 1);
            self.runs_on(run, last_activity);
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
        // The gate is closed: nobody waits for it.
        let alone = self.now().saturating_since(attended);
        let mode = match service.unattended {
            Some(unattended) if alone >= unattended => ParkMode::AsItIs,
            _ => ParkMode::IfQuiet,
        };
        self.beside(
            move || host.park(instance, mode),
            move |controller, parked| {
                let parked =
                    parked.unwrap_or_else(|panicked| Err(HostError::new("park", instance, panicked)));
                controller.on_parked(run, parked, closed);
            },
        );
    }

    fn on_parked(self: &Arc<Self>, run: Run, parked: Result<Parked, HostError>, closed: Box<dyn ClosedGate>) {
        let Some(service) = self.services.get(&run.service) else {
            return;
        };
        match parked {
            Ok(Parked::Asleep {
                written_bytes,
                saved_bytes,
                midway,
            }) => {
                let Some(turn) = self.gone(run, |_| run.parked(written_bytes)) else {
                    return self.ended_meanwhile(run, service, closed);
                };
                if midway {
                    let unattended = service.unattended.unwrap_or_default();
                    info!(
                        service = run.service.0,
                        instance = run.instance.0,
                        saved_bytes,
                        "an instance sleeps in the midst of something: nobody has waited for it for {unattended:?}"
                    );
                }
                service.board.update(|status| {
                    status.activity = Activity::Asleep;
                    status.parks += 1;
                    status.parks_midway += u64::from(midway);
                    status.written_bytes = written_bytes;
                    status.saved_bytes = saved_bytes;
                });
                if let Some(turn) = turn {
                    turn.execute();
                }
                closed.asleep();
            }
            Ok(Parked::Busy) => {
                if !self.core().running.contains_key(&run.instance) {
                    return self.ended_meanwhile(run, service, closed);
                }
                service.board.update(|status| {
                    status.activity = Activity::Awake;
                    status.parks_refused += 1;
                });
                // If somebody was there meanwhile, the scheduler has been told.
                let attended = self
                    .core()
                    .running
                    .get(&run.instance)
                    .map(|running| running.attended);
                self.runs_on(run, attended.unwrap_or_default());
                drop(closed);
            }
            Err(error) => {
                drop(closed);
                self.on_fall(run, Fallen::Dead, error.report());
            }
        }
    }

    /// An instance that has ended was in the host's hands, where nothing could stop it.
    fn ended_meanwhile(self: &Arc<Self>, run: Run, service: &Service, closed: Box<dyn ClosedGate>) {
        self.stop(service, run.instance);
        closed.asleep();
    }

    /// Has `instance` stopped, and what it knew put aside.
    pub(super) fn stop(self: &Arc<Self>, service: &Service, instance: InstanceId) {
        service.host.stop(instance);
        self.put_aside(service);
    }

    /// Has the host put aside what has ended. Takes long, so that nobody waits for it but [`settle`](Self::settle).
    pub(super) fn put_aside(self: &Arc<Self>, service: &Service) {
        let host = Arc::clone(&service.host);
        // The panic hook reports one that panics; what it had in its hands is lost.
        self.beside(move || host.put_aside(), |_, _| {});
    }

    /// It is not parked after all.
    fn runs_on(self: &Arc<Self>, run: Run, last_activity: Timestamp) {
        if let Some(running) = self.core().running.get_mut(&run.instance) {
            running.parking = false;
        }
        self.handle(run.park_refused(last_activity));
    }

    fn ago(&self, age: Duration) -> Timestamp {
        let since_origin = self.now().saturating_since(Timestamp::ZERO);
        Timestamp::ZERO + since_origin.saturating_sub(age)
    }
}
