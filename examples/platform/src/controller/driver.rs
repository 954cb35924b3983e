//! The shell around the scheduler: clock, timer, and who may ask.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use scheduler::{
    Epoch, Event, InstanceId, LearnedSki, Policy, RequestId, Scheduler, ServiceId, Settings, Timestamp,
};
use tokio::sync::{Notify, watch};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::alarm::Alarm;
use super::execute::ParkGate;
use super::requests::Requests;
use super::service::{Service, ServiceSetup};
use super::status::ServiceStatus;
use super::turn::{Agenda, Todo};
use crate::host::GuestLink;
use crate::phases::WakePhases;
use crate::vitals::Vitals;

/// Joins scheduler, hosts and proxy.
///
/// Cheap to call from any task: a decision is a few microseconds under a lock. A restore follows on the caller's thread, which
/// is the shortest way to it; whatever takes longer is done by a task of the controller's.
pub struct Controller {
    /// Guards scheduler and tables. Held for a decision, never while one is executed.
    core: Mutex<Core>,
    pub(super) services: HashMap<ServiceId, Service>,
    origin: Instant,
    /// The next deadline may have come closer.
    pub(super) deadline_moved: Notify,
    /// The timer, and parks and boots under way.
    pub(super) tasks: TaskTracker,
    /// Who waits for the death of an instance.
    pub(super) watches: TaskTracker,
    ending: CancellationToken,
}

pub(super) struct Core {
    pub(super) scheduler: Scheduler<LearnedSki>,
    pub(super) requests: Requests,
    /// Instances that are being started, and that nobody has given up.
    pub(super) starting: HashSet<InstanceId>,
    pub(super) running: HashMap<InstanceId, Running>,
    /// The instance of each service that was last started.
    pub(super) newest: HashMap<ServiceId, InstanceId>,
    /// The request that stands for all exchanges of a service that are under way.
    pub(super) busy: HashMap<ServiceId, RequestId>,
    pub(super) agenda: Agenda,
}

/// An instance that runs, as far as the controller knows.
pub(super) struct Running {
    pub(super) link: Arc<dyn GuestLink>,
    /// Of the last command for it.
    pub(super) epoch: Epoch,
    /// It is being parked.
    pub(super) parking: bool,
    /// When somebody last waited for it, unless somebody does.
    pub(super) attended: Timestamp,
}

impl Controller {
    /// A controller for `services`. [`run`](Self::run) makes it act on time.
    #[must_use]
    pub fn new(services: Vec<ServiceSetup>) -> Arc<Self> {
        Self::with_learned(services, LearnedSki::new())
    }

    /// A controller for `services` that goes on from what one of an earlier run [has learned](Self::learned) of them; the rest is
    /// forgotten.
    #[must_use]
    pub fn with_learned(services: Vec<ServiceSetup>, mut learned: LearnedSki) -> Arc<Self> {
        let known: HashSet<_> = services.iter().map(|setup| setup.id).collect();
        let gone: Vec<_> = learned.services().filter(|id| !known.contains(id)).collect();
        gone.into_iter().for_each(|id| learned.forget(id));
        let origin = Instant::now();
        let mut scheduler = Scheduler::with_policy(&Settings::default(), learned);
        let mut decided = Vec::new();
        let mut table = HashMap::new();
        for setup in services {
            let (id, config, service) = setup.into_service();
            let configured = Event::ServiceConfigured { service: id, config };
            scheduler.handle(Timestamp::ZERO, configured, &mut decided);
            table.insert(id, service);
        }
        let mut agenda = Agenda::default();
        decided
            .into_iter()
            .for_each(|action| agenda.push(Todo::Do(action)));
        let core = Core {
            scheduler,
            requests: Requests::default(),
            starting: HashSet::new(),
            running: HashMap::new(),
            newest: HashMap::new(),
            busy: HashMap::new(),
            agenda,
        };
        let controller = Arc::new(Self {
            core: Mutex::new(core),
            services: table,
            origin,
            deadline_moved: Notify::new(),
            tasks: TaskTracker::new(),
            watches: TaskTracker::new(),
            ending: CancellationToken::new(),
        });
        let turn = controller.turn(&mut controller.core());
        if let Some(turn) = turn {
            turn.execute();
        }
        controller
    }

    /// Tells the controller how the proxy holds `service` back while it is parked, in place of what it was told before. Until then
    /// it is never parked.
    pub fn set_gate(&self, service: ServiceId, gate: Arc<dyn ParkGate>) {
        if let Some(service) = self.services.get(&service) {
            service.set_gate(Some(gate));
        }
    }

    /// Does what is due by time, until [`settle`](Self::settle).
    pub async fn run(self: Arc<Self>) {
        let _under_way = self.tasks.token();
        let alarm = Alarm::new()
            .inspect_err(
                |error| warn!(%error, "no thread for an exact alarm; parking may be some milliseconds late"),
            )
            .ok();
        loop {
            let moved = self.deadline_moved.notified();
            let deadline = self.core().scheduler.next_deadline();
            let deadline = deadline.map(|at| self.instant(at));
            let due = async {
                match (&alarm, deadline) {
                    (Some(alarm), _) => {
                        alarm.set(deadline);
                        alarm.rang().await;
                    }
                    (None, Some(at)) => tokio::time::sleep_until(at.into()).await,
                    (None, None) => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.ending.cancelled() => return,
                () = moved => {}
                () = due => self.handle(Event::Tick),
            }
        }
    }

    /// What `service` is doing, as it changes; `None` if there is no such service.
    #[must_use]
    pub fn status(&self, service: ServiceId) -> Option<watch::Receiver<ServiceStatus>> {
        Some(self.services.get(&service)?.board.subscribe())
    }

    /// What the wakes of `service` took so far, phase by phase; `None` if there is no such service.
    #[must_use]
    pub fn phases(&self, service: ServiceId) -> Option<&WakePhases> {
        Some(&self.services.get(&service)?.vitals.phases)
    }

    pub(crate) fn vitals(&self, service: ServiceId) -> Option<&Arc<Vitals>> {
        Some(&self.services.get(&service)?.vitals)
    }

    /// Why `service` is as it is, in the scheduler's words.
    #[must_use]
    pub fn why(&self, service: ServiceId) -> Option<String> {
        Some(self.core().scheduler.why(service)?.to_string())
    }

    /// Why nothing of `service` starts, parks or stops at this moment, and what would change that.
    #[must_use]
    pub fn why_not(&self, service: ServiceId) -> Option<String> {
        Some(self.core().scheduler.why_not(service)?.to_string())
    }

    /// What was learned of all services whose cooldown is not pinned, as `LearnedSki::restore` takes it back.
    #[must_use]
    pub fn learned(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.core().scheduler.policy().save(&mut bytes);
        bytes
    }

    /// Ends the timer and waits for parks and boots that are under way. The proxy must have drained. From then on no instance
    /// changes, and the hosts can put theirs to sleep for good.
    pub async fn settle(&self) {
        self.ending.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// [Settles](Self::settle) and ends. The hosts must have put their instances to sleep or stopped them in between: that
    /// ends the tasks that watch them.
    pub async fn shut_down(&self) {
        self.settle().await;
        for service in self.services.values() {
            service.set_gate(None);
        }
        self.watches.close();
        self.watches.wait().await;
    }

    /// Runs `work`, which may block, beside the caller, and then `then` with what came of it: an error if it panicked.
    pub(super) fn beside<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(&Arc<Self>, Result<T, JoinError>) + Send + 'static,
    ) {
        let controller = Arc::clone(self);
        self.tasks.spawn(async move {
            let done = tokio::task::spawn_blocking(work).await;
            then(&controller, done);
        });
    }

    pub(super) fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.origin.elapsed()
    }

    fn instant(&self, at: Timestamp) -> Instant {
        self.origin + at.saturating_since(Timestamp::ZERO)
    }
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller")
            .field("services", &self.services.len())
            .finish_non_exhaustive()
    }
}
