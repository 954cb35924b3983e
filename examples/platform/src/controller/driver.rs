//! The shell around the scheduler: clock, timer, and who may ask.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use scheduler::{
    Action, Epoch, Event, InstanceId, RequestId, Scheduler, ServiceId, Settings, Timestamp, ValidConfig,
};
use tokio::sync::{Notify, watch};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::execute::ParkGate;
use super::requests::{Refused, Requests};
use super::status::{ServiceStatus, StatusBoard};
use crate::host::{GuestLink, InstanceHost};
use crate::wake_clock::WakeClock;

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
    tasks: TaskTracker,
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
    pub(crate) clock: Arc<WakeClock>,
}

pub(super) struct Service {
    pub(super) host: Arc<dyn InstanceHost>,
    pub(super) gate: OnceLock<Arc<dyn ParkGate>>,
    pub(super) cooldown: Duration,
    pub(super) board: StatusBoard,
    pub(super) clock: Arc<WakeClock>,
}

pub(super) struct Core {
    pub(super) scheduler: Scheduler,
    pub(super) requests: Requests,
    /// Instances that are being started, and that nobody has given up.
    pub(super) starting: HashSet<InstanceId>,
    pub(super) running: HashMap<InstanceId, Running>,
    /// The request that stands for all exchanges of a service that are under way.
    busy: HashMap<ServiceId, RequestId>,
}

/// An instance that runs, as far as the controller knows.
pub(super) struct Running {
    pub(super) link: Arc<dyn GuestLink>,
    /// Of the last command for it.
    pub(super) epoch: Epoch,
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
            clock,
        } in services
        {
            let cooldown = config.cooldown.unwrap_or(Duration::MAX);
            scheduler.handle(
                Timestamp::ZERO,
                Event::ServiceConfigured { service: id, config },
                &mut decided,
            );
            let service = Service {
                host,
                gate: OnceLock::new(),
                cooldown,
                board: StatusBoard::new(),
                clock,
            };
            table.insert(id, service);
        }
        let core = Core {
            scheduler,
            requests: Requests::default(),
            starting: HashSet::new(),
            running: HashMap::new(),
            busy: HashMap::new(),
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
        controller.execute(decided);
        controller
    }

    /// Tells the controller how the proxy holds `service` back while it is parked. Until then it is never parked.
    pub fn set_gate(&self, service: ServiceId, gate: Arc<dyn ParkGate>) {
        if let Some(service) = self.services.get(&service) {
            // A second gate would be a second proxy in front of one service: the first stays.
            let _ = service.gate.set(gate);
        }
    }

    /// Does what is due by time, until [`settle`](Self::settle).
    pub async fn run(self: Arc<Self>) {
        let _under_way = self.tasks.token();
        loop {
            let moved = self.deadline_moved.notified();
            let deadline = self.core().scheduler.next_deadline();
            let due = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(self.instant(at).into()).await,
                    None => std::future::pending().await,
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
            service.clock.asked();
        }
        let (id, word) = self.core().requests.wait();
        let request = Queued {
            controller: Arc::clone(self),
            service,
            id,
        };
        self.handle(Event::RequestQueued { service, request: id });
        match word.await {
            Ok(Ok(link)) => Ok(Admitted { request, link }),
            Ok(Err(Refused { retry_after, reason })) => Err(ControllerError::Shed { retry_after, reason }),
            Err(_) => Err(ControllerError::Ending),
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
        let request = self.core().busy.remove(&service);
        if let Some(request) = request {
            self.handle_in_lock(Event::RequestDone { service, request });
        }
    }

    /// What `service` is doing, as it changes; `None` if there is no such service.
    #[must_use]
    pub fn status(&self, service: ServiceId) -> Option<watch::Receiver<ServiceStatus>> {
        Some(self.services.get(&service)?.board.subscribe())
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

    /// Lets the scheduler decide on `event`, and does what it decides.
    pub(super) fn handle(self: &Arc<Self>, event: Event) {
        let decided = self.decide(event);
        self.execute(decided);
    }

    /// Like [`handle`](Self::handle), for a caller that holds a lock of the proxy's: what starts, parks or stops an instance is
    /// left to a task, because it may have to tell the proxy something.
    fn handle_in_lock(self: &Arc<Self>, event: Event) {
        let decided = self.decide(event);
        if decided
            .iter()
            .all(|action| action.command.lifecycle_of().is_none())
        {
            self.execute(decided);
        } else {
            let controller = Arc::clone(self);
            self.tasks.spawn(async move { controller.execute(decided) });
        }
    }

    fn decide(&self, event: Event) -> Vec<Action> {
        let mut decided = Vec::new();
        let mut core = self.core();
        let before = core.scheduler.next_deadline();
        core.scheduler.handle(self.now(), event, &mut decided);
        if core.scheduler.next_deadline() != before {
            self.deadline_moved.notify_one();
        }
        decided
    }

    fn execute(self: &Arc<Self>, decided: Vec<Action>) {
        for action in decided {
            self.perform(action);
        }
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
