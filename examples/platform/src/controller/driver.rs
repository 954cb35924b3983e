//! The shell around the scheduler: clock, timer, and who may ask.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use scheduler::{
    Action, Cooldown, Epoch, Event, InstanceId, RequestId, Scheduler, ServiceId, Settings, Timestamp,
    ValidConfig,
};
use tokio::sync::{Notify, watch};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::alarm::Alarm;
use super::execute::ParkGate;
use super::fall::Fallen;
use super::requests::{Requests, Word};
use super::run::Run;
use super::status::{ServiceStatus, StatusBoard};
use crate::host::{GuestLink, InstanceHost};
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
    deadline_moved: Notify,
    /// The timer, and parks and boots under way.
    pub(super) tasks: TaskTracker,
    /// Who waits for the death of an instance.
    pub(super) watches: TaskTracker,
    ending: CancellationToken,
}

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
}

pub(super) struct Service {
    pub(super) host: Arc<dyn InstanceHost>,
    /// Taken away in the end: the proxy behind it holds the controller.
    gate: Mutex<Option<Arc<dyn ParkGate>>>,
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
}

pub(super) struct Core {
    pub(super) scheduler: Scheduler,
    pub(super) requests: Requests,
    /// Instances that are being started, and that nobody has given up.
    pub(super) starting: HashSet<InstanceId>,
    pub(super) running: HashMap<InstanceId, Running>,
    /// The instance of each service that was last started.
    pub(super) newest: HashMap<ServiceId, InstanceId>,
    /// The request that stands for all exchanges of a service that are under way.
    busy: HashMap<ServiceId, RequestId>,
    /// Not done yet.
    pub(super) todo: VecDeque<Todo>,
    /// Somebody is doing it.
    executing: bool,
}

/// Something to do.
pub(super) enum Todo {
    /// The scheduler has decided it.
    Do(Action),
    /// An instance was taken out of those that run.
    End {
        run: Run,
        fallen: Fallen,
        reason: String,
    },
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
    /// A controller for `services`. [`run`](Self::run) makes it act on time.
    #[must_use]
    pub fn new(services: Vec<ServiceSetup>) -> Arc<Self> {
        let origin = Instant::now();
        let mut scheduler = Scheduler::new(&Settings::default());
        let mut decided = Vec::new();
        let mut table = HashMap::new();
        for ServiceSetup {
            id,
            config,
            host,
            unattended,
            vitals,
        } in services
        {
            let cooldown = config.cooldown.unwrap_or(Cooldown::DEFAULT);
            scheduler.handle(
                Timestamp::ZERO,
                Event::ServiceConfigured { service: id, config },
                &mut decided,
            );
            let service = Service {
                host,
                gate: Mutex::new(None),
                cooldown,
                unattended,
                board: StatusBoard::new(),
                vitals,
            };
            table.insert(id, service);
        }
        let core = Core {
            scheduler,
            requests: Requests::default(),
            starting: HashSet::new(),
            running: HashMap::new(),
            newest: HashMap::new(),
            busy: HashMap::new(),
            executing: false,
            todo: decided.into_iter().map(Todo::Do).collect(),
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
            *service.gate.lock().unwrap_or_else(PoisonError::into_inner) = Some(gate);
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
            service.gate.lock().unwrap_or_else(PoisonError::into_inner).take();
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

    /// Lets the scheduler decide on `event`, and does what it decides: all decisions in their order, one at a time, by whoever
    /// comes first.
    pub(super) fn handle(self: &Arc<Self>, event: Event) {
        let turn = self.decide_with(&mut self.core(), event);
        if let Some(turn) = turn {
            turn.execute();
        }
    }

    /// Like [`handle`](Self::handle), for a caller that holds a lock of the proxy's: leaves the doing to a task, because it may
    /// have to tell the proxy something.
    fn handle_in_lock(self: &Arc<Self>, event: Event) {
        let turn = self.decide_with(&mut self.core(), event);
        if let Some(turn) = turn {
            self.tasks.spawn(async move { turn.execute() });
        }
    }

    /// Queues what the scheduler decides on `event`, in one with what else the caller changes, and gives the caller the turn to
    /// execute it if nobody has that.
    pub(super) fn decide_with(self: &Arc<Self>, core: &mut Core, event: Event) -> Option<Turn> {
        let before = core.scheduler.next_deadline();
        let mut actions = Vec::new();
        core.scheduler.handle(self.now(), event, &mut actions);
        core.todo.extend(actions.into_iter().map(Todo::Do));
        if core.scheduler.next_deadline() != before {
            self.deadline_moved.notify_one();
        }
        self.turn(core)
    }

    /// The turn, if there is something to do and nobody has it.
    fn turn(self: &Arc<Self>, core: &mut Core) -> Option<Turn> {
        let mine = !core.executing && !core.todo.is_empty();
        core.executing |= mine;
        mine.then(|| Turn {
            controller: Arc::clone(self),
            over: false,
        })
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

/// The right to do what is queued, for one at a time. Dropped before its end, by a panic or with the task that has it, it is
/// given back, so that the next event goes on with the rest. Not to be dropped while the core is locked.
#[must_use]
pub(super) struct Turn {
    controller: Arc<Controller>,
    over: bool,
}

impl Turn {
    /// Does what is queued, and what is queued meanwhile.
    pub(super) fn execute(mut self) {
        while let Some(todo) = self.next() {
            match todo {
                Todo::Do(action) => self.controller.perform(action),
                Todo::End { run, fallen, reason } => self.controller.end(run, fallen, &reason),
            }
        }
    }

    /// What is next; with the last one the right ends, under the same lock.
    fn next(&mut self) -> Option<Todo> {
        let mut core = self.controller.core();
        let todo = core.todo.pop_front();
        core.executing = todo.is_some();
        self.over = todo.is_none();
        todo
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.over {
            self.controller.core().executing = false;
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

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller")
            .field("services", &self.services.len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Admitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admitted")
            .field("request", &self.request.id)
            .finish_non_exhaustive()
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
