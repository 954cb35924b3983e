//! A scheduler with one service on a clock that the test moves. Actions read `start 1.1 boot`, `park 1.2`, `stop 1.3`,
//! `admit 7 to 1`, `shed 7`: instance, dot, epoch.

use std::time::Duration;

use scheduler::{
    Action, ActionId, Command, ConnectionId, Cooldown, Epoch, Event, InstanceId, InstanceReport, Inventory,
    Milli, NodeId, Phase, Policy, RequestId, Scheduler, ServiceConfig, ServiceId, Settings, StartKind,
    Timestamp,
};

pub(crate) const SERVICE: ServiceId = ServiceId(1);

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A service with a cooldown of 10 ms.
pub(crate) fn config() -> ServiceConfig {
    ServiceConfig {
        cooldown: Some(ms(10)),
        ..ServiceConfig::default()
    }
}

pub(crate) struct Desk<P: Policy = Cooldown> {
    pub(crate) scheduler: Scheduler<P>,
    pub(crate) now: Timestamp,
    /// What the last event led to.
    pub(crate) actions: Vec<Action>,
}

impl Desk {
    pub(crate) fn new(config: ServiceConfig) -> Self {
        Self::with(config, Cooldown)
    }

    /// A desk whose instance 1 runs and is idle since 0 ms.
    pub(crate) fn awake(config: ServiceConfig) -> Self {
        Self::awake_with(config, Cooldown)
    }

    /// A desk whose instance 1 sleeps since 10 ms, by its command number 2.
    pub(crate) fn asleep(config: ServiceConfig) -> Self {
        let mut desk = Self::awake(config);
        desk.at(10).tick();
        desk.parked(1, 2);
        desk
    }
}

impl<P: Policy> Desk<P> {
    pub(crate) fn with(config: ServiceConfig, policy: P) -> Self {
        let mut desk = Self {
            scheduler: Scheduler::with_policy(&Settings::default(), policy),
            now: Timestamp::ZERO,
            actions: Vec::new(),
        };
        desk.configure(config);
        desk
    }

    /// A desk whose instance 1 runs and is idle since 0 ms.
    pub(crate) fn awake_with(config: ServiceConfig, policy: P) -> Self {
        let mut desk = Self::with(config, policy);
        desk.queued(0);
        desk.ready(1, 1);
        desk.done(0);
        desk
    }

    pub(crate) fn at(&mut self, millis: u64) -> &mut Self {
        self.now = Timestamp::from_millis(millis);
        self
    }

    pub(crate) fn event(&mut self, event: Event) -> Vec<String> {
        self.actions.clear();
        self.scheduler.handle(self.now, event, &mut self.actions);
        self.scheduler.check_invariants().expect("no event breaks a rule");
        self.actions.iter().map(brief).collect()
    }

    /// The reasons of the last actions.
    pub(crate) fn reasons(&self) -> Vec<String> {
        self.actions
            .iter()
            .map(|action| action.reason.to_string())
            .collect()
    }

    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.scheduler.next_deadline().map(|at| at.as_nanos() / 1_000_000)
    }

    pub(crate) fn configure(&mut self, config: ServiceConfig) -> Vec<String> {
        let config = config.validate().expect("test configurations are valid");
        self.event(Event::ServiceConfigured {
            service: SERVICE,
            config,
        })
    }

    pub(crate) fn tick(&mut self) -> Vec<String> {
        self.event(Event::Tick)
    }

    pub(crate) fn queued(&mut self, request: u64) -> Vec<String> {
        self.event(Event::RequestQueued {
            service: SERVICE,
            request: RequestId(request),
        })
    }

    pub(crate) fn done(&mut self, request: u64) -> Vec<String> {
        self.event(Event::RequestDone {
            service: SERVICE,
            request: RequestId(request),
        })
    }

    pub(crate) fn ready(&mut self, instance: u64, epoch: u64) -> Vec<String> {
        let (instance, epoch) = (InstanceId(instance), Epoch(epoch));
        self.event(Event::InstanceReady {
            service: SERVICE,
            instance,
            epoch,
        })
    }

    pub(crate) fn failed(&mut self, instance: u64, epoch: u64) -> Vec<String> {
        let (instance, epoch) = (InstanceId(instance), Epoch(epoch));
        self.event(Event::InstanceFailed {
            service: SERVICE,
            instance,
            epoch,
        })
    }

    pub(crate) fn parked(&mut self, instance: u64, epoch: u64) -> Vec<String> {
        let (instance, epoch) = (InstanceId(instance), Epoch(epoch));
        self.event(Event::InstanceParked {
            service: SERVICE,
            instance,
            epoch,
            written_bytes: 0,
        })
    }

    pub(crate) fn refused(&mut self, instance: u64, epoch: u64, active_ms: u64) -> Vec<String> {
        let (instance, epoch) = (InstanceId(instance), Epoch(epoch));
        let last_activity = Timestamp::from_millis(active_ms);
        self.event(Event::ParkRefused {
            service: SERVICE,
            instance,
            epoch,
            last_activity,
        })
    }

    pub(crate) fn exited(&mut self, instance: u64, epoch: u64) -> Vec<String> {
        let (instance, epoch) = (InstanceId(instance), Epoch(epoch));
        self.event(Event::InstanceExited {
            service: SERVICE,
            instance,
            epoch,
        })
    }

    pub(crate) fn usage(&mut self, instance: u64, cpu: u64) -> Vec<String> {
        self.event(Event::Usage {
            service: SERVICE,
            instance: InstanceId(instance),
            cpu: Milli(cpu),
        })
    }

    pub(crate) fn active(&mut self, instance: u64, connection: u64) -> Vec<String> {
        let (instance, connection) = (InstanceId(instance), ConnectionId(connection));
        self.event(Event::ConnectionActive {
            service: SERVICE,
            instance,
            connection,
        })
    }

    pub(crate) fn quiet(&mut self, instance: u64, connection: u64) -> Vec<String> {
        let (instance, connection) = (InstanceId(instance), ConnectionId(connection));
        self.event(Event::ConnectionQuiet {
            service: SERVICE,
            instance,
            connection,
        })
    }

    pub(crate) fn closed(&mut self, instance: u64, connection: u64) -> Vec<String> {
        let (instance, connection) = (InstanceId(instance), ConnectionId(connection));
        self.event(Event::ConnectionClosed {
            service: SERVICE,
            instance,
            connection,
        })
    }
}

pub(crate) fn brief(action: &Action) -> String {
    match action.command {
        Command::Start {
            instance,
            epoch,
            kind: StartKind::Boot,
            ..
        } => format!("start {instance}.{epoch} boot"),
        Command::Start {
            instance,
            epoch,
            kind: StartKind::Clone { of },
            ..
        } => format!("start {instance}.{epoch} clone of {of}"),
        Command::Start { instance, epoch, .. } => format!("start {instance}.{epoch} restore"),
        Command::Park { instance, epoch, .. } => format!("park {instance}.{epoch}"),
        Command::Stop { instance, epoch } => format!("stop {instance}.{epoch}"),
        Command::Admit {
            request, instance, ..
        } => format!("admit {request} to {instance}"),
        Command::Shed { request, .. } => format!("shed {request}"),
        _ => unreachable!("no other commands"),
    }
}

/// Up to so many instances that take so many requests each.
pub(crate) fn up_to(max_instances: u32, concurrency: u32) -> ServiceConfig {
    ServiceConfig {
        max_instances,
        concurrency,
        ..config()
    }
}

/// What the owner tells of an instance.
pub(crate) fn report(instance: u64, epoch: u64, phase: Phase, in_flight: &[u64]) -> InstanceReport {
    InstanceReport {
        node: NodeId(0),
        instance: InstanceId(instance),
        epoch: Epoch(epoch),
        phase,
        in_flight: in_flight.iter().copied().map(RequestId).collect(),
        connections: Vec::new(),
    }
}

/// What there is; the last action there was when the owner looked is `as_of`.
pub(crate) fn inventory(as_of: u64, waiting: &[u64], instances: Vec<InstanceReport>) -> Event {
    Event::Inventory(Inventory {
        service: SERVICE,
        as_of: ActionId(as_of),
        waiting: waiting.iter().copied().map(RequestId).collect(),
        instances,
    })
}

/// No actions.
pub(crate) const NOTHING: [&str; 0] = [];
