//! A model of hosts around a scheduler: it does what it is told, keeps books of its own on memory, starts and writing,
//! and stops the test when the scheduler asks for more than there is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use scheduler::{
    Action, Command, Epoch, Event, InstanceId, InstanceReport, Inventory, NodeConfig, NodeId, ParkLevel,
    Phase, RequestId, ResourceConfig, Scheduler, ServiceConfig, ServiceId, Settings, StartKind, TenantId,
    Timestamp,
};

pub(crate) const MIB: u64 = 1 << 20;

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A service of one tenant whose instances take so much memory and one request each.
pub(crate) fn service(tenant: u64, memory_bytes: u64) -> ServiceConfig {
    ServiceConfig {
        max_instances: 50,
        concurrency: 1,
        cooldown: Some(ms(10)),
        resources: ResourceConfig {
            memory_bytes,
            tenant: TenantId(tenant),
            ..ResourceConfig::default()
        },
        ..ServiceConfig::default()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Vm {
    pub(crate) service: ServiceId,
    pub(crate) node: NodeId,
    pub(crate) epoch: Epoch,
    pub(crate) phase: Phase,
    pub(crate) level: ParkLevel,
    /// It slept when it was told to park: it goes deeper asleep.
    deepens: bool,
    /// How it was started last.
    pub(crate) kind: StartKind,
    pub(crate) in_flight: BTreeSet<RequestId>,
}

/// A start that was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) at: Timestamp,
    pub(crate) node: NodeId,
    pub(crate) tenant: TenantId,
    pub(crate) instance: InstanceId,
}

pub(crate) struct Cluster {
    pub(crate) scheduler: Scheduler,
    pub(crate) now: Timestamp,
    pub(crate) vms: BTreeMap<InstanceId, Vm>,
    pub(crate) waiting: BTreeMap<RequestId, ServiceId>,
    /// How long each request waited until it was admitted.
    pub(crate) admitted: BTreeMap<RequestId, Duration>,
    pub(crate) shed: BTreeMap<RequestId, Action>,
    pub(crate) starts: Vec<Start>,
    pub(crate) parks: Vec<(Timestamp, InstanceId, ParkLevel)>,
    pub(crate) configs: BTreeMap<ServiceId, ServiceConfig>,
    arrived: BTreeMap<RequestId, Timestamp>,
    /// Memory of each node that is up; `None` is no limit.
    nodes: BTreeMap<NodeId, Option<u64>>,
    pub(crate) requests: u64,
    strict: bool,
    /// Whether every rule is checked after every event: that looks at everything.
    checks: bool,
}

impl Cluster {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            scheduler: Scheduler::new(settings),
            now: Timestamp::ZERO,
            vms: BTreeMap::new(),
            waiting: BTreeMap::new(),
            admitted: BTreeMap::new(),
            shed: BTreeMap::new(),
            starts: Vec::new(),
            parks: Vec::new(),
            configs: BTreeMap::new(),
            arrived: BTreeMap::new(),
            nodes: BTreeMap::from([(NodeId(0), settings.limits.node.memory_bytes)]),
            requests: 0,
            strict: true,
            checks: true,
        }
    }

    /// For many services.
    pub(crate) fn unchecked(settings: &Settings) -> Self {
        Self {
            checks: false,
            ..Self::new(settings)
        }
    }

    /// From now on instances and nodes may change their size, so that more may be in use than there is.
    pub(crate) fn forgive(&mut self) {
        self.strict = false;
    }

    pub(crate) fn tell(&mut self, event: Event) {
        let mut out = Vec::new();
        self.scheduler.handle(self.now, event, &mut out);
        if self.checks {
            self.scheduler.check_invariants().expect("no event breaks a rule");
        }
        let mut answers = Vec::new();
        for action in out {
            answers.extend(self.apply(action));
        }
        for answer in answers {
            self.tell(answer);
        }
    }

    pub(crate) fn configure(&mut self, id: u64, config: ServiceConfig) {
        let service = ServiceId(id);
        self.configs.insert(service, config.clone());
        let config = config.validate().expect("test configurations are valid");
        self.tell(Event::ServiceConfigured { service, config });
    }

    pub(crate) fn node_up(&mut self, node: u64, config: NodeConfig) {
        let node = NodeId(node);
        self.nodes.insert(node, config.memory_bytes);
        self.tell(Event::NodeUp { node, config });
    }

    /// The node dies with all that is on it.
    pub(crate) fn node_down(&mut self, node: u64) {
        let node = NodeId(node);
        self.nodes.remove(&node);
        self.vms.retain(|_, vm| vm.node != node);
        self.tell(Event::NodeDown { node });
    }

    pub(crate) fn request(&mut self, service: u64) -> RequestId {
        let (service, request) = (ServiceId(service), RequestId(self.requests));
        self.requests += 1;
        self.waiting.insert(request, service);
        self.arrived.insert(request, self.now);
        self.tell(Event::RequestQueued { service, request });
        request
    }

    /// The instance does what it was told, or a request there ends.
    pub(crate) fn progress(&mut self, instance: InstanceId) {
        let Some(vm) = self.vms.get_mut(&instance) else {
            return;
        };
        let (service, epoch) = (vm.service, vm.epoch);
        match vm.phase {
            Phase::Starting => {
                vm.phase = Phase::Running;
                self.tell(Event::InstanceReady {
                    service,
                    instance,
                    epoch,
                });
            }
            Phase::Parking => {
                vm.phase = Phase::Parked;
                self.tell(Event::InstanceParked {
                    service,
                    instance,
                    epoch,
                    written_bytes: 0,
                });
            }
            Phase::Running => {
                if let Some(request) = vm.in_flight.pop_first() {
                    self.tell(Event::RequestDone { service, request });
                }
            }
            _ => {}
        }
    }

    pub(crate) fn progress_all(&mut self) {
        for instance in self.vms.keys().copied().collect::<Vec<_>>() {
            self.progress(instance);
        }
    }

    /// Time passes, with a tick whenever one is due.
    pub(crate) fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.scheduler.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.tell(Event::Tick);
        }
        self.now = end;
    }

    /// Time passes in steps of a millisecond in each of which everything progresses.
    pub(crate) fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.wait(ms(1));
            self.progress_all();
        }
    }

    pub(crate) fn exited(&mut self, instance: InstanceId) {
        if let Some(Vm { service, epoch, .. }) = self.vms.remove(&instance) {
            self.tell(Event::InstanceExited {
                service,
                instance,
                epoch,
            });
        }
    }

    pub(crate) fn inventory(&mut self) {
        for service in self.configs.keys().copied().collect::<Vec<_>>() {
            let report = |(id, vm): (&InstanceId, &Vm)| InstanceReport {
                instance: *id,
                node: vm.node,
                epoch: vm.epoch,
                phase: vm.phase,
                in_flight: vm.in_flight.iter().copied().collect(),
                connections: Vec::new(),
            };
            let waits = self.waiting.iter().filter(|(_, of)| **of == service);
            let inventory = Inventory {
                service,
                as_of: scheduler::ActionId(u64::MAX),
                waiting: waits.map(|(request, _)| *request).collect(),
                instances: self
                    .vms
                    .iter()
                    .filter(|(_, vm)| vm.service == service)
                    .map(report)
                    .collect(),
            };
            self.tell(Event::Inventory(inventory));
        }
    }

    /// Memory that the instances of a node take, by this model's own books.
    pub(crate) fn used(&self, node: NodeId) -> u64 {
        let there = self.vms.values().filter(|vm| vm.node == node);
        let takes = there.filter(|vm| vm.phase != Phase::Parked || vm.level != ParkLevel::Disk);
        takes
            .map(|vm| self.configs[&vm.service].resources.memory_bytes)
            .sum()
    }

    pub(crate) fn awake(&self, tenant: u64) -> usize {
        let awake = self.vms.values();
        awake
            .filter(|vm| vm.phase != Phase::Parked && !vm.deepens)
            .filter(|vm| self.configs[&vm.service].resources.tenant == TenantId(tenant))
            .count()
    }

    /// What keeps a service from starting anything, as people read it.
    pub(crate) fn blocked(&self, service: u64) -> Option<String> {
        let blocked = self.scheduler.blocked(ServiceId(service))?;
        Some(blocked.to_string())
    }

    fn apply(&mut self, action: Action) -> Option<Event> {
        let service = action.service;
        match action.command {
            Command::Start {
                instance,
                epoch,
                node,
                kind,
            } => {
                let vm = self.vms.entry(instance).or_insert_with(|| Vm {
                    service,
                    node,
                    epoch,
                    phase: Phase::Starting,
                    level: ParkLevel::Ram,
                    deepens: false,
                    kind,
                    in_flight: BTreeSet::new(),
                });
                assert_eq!(vm.node, node, "it sleeps elsewhere: {action}");
                (vm.epoch, vm.phase, vm.kind) = (epoch, Phase::Starting, kind);
                vm.deepens = false;
                let memory = *self.nodes.get(&node).expect("the node is up");
                if let Some(memory) = memory.filter(|_| self.strict) {
                    let used = self.used(node);
                    assert!(used <= memory, "{action}: {used} of {memory}");
                }
                self.starts.push(Start {
                    at: self.now,
                    node,
                    tenant: self.configs[&service].resources.tenant,
                    instance,
                });
            }
            Command::Park {
                instance,
                epoch,
                level,
            } => {
                let vm = self.vms.get_mut(&instance).expect("it is there");
                assert!(vm.in_flight.is_empty(), "a busy instance is parked: {action}");
                vm.deepens = vm.phase == Phase::Parked;
                (vm.epoch, vm.phase, vm.level) = (epoch, Phase::Parking, level);
                self.parks.push((self.now, instance, level));
            }
            Command::Stop { instance, epoch } => {
                self.vms.remove(&instance);
                return Some(Event::InstanceExited {
                    service,
                    instance,
                    epoch,
                });
            }
            Command::Admit {
                request, instance, ..
            } => {
                self.waiting.remove(&request);
                let waited = self.now.saturating_since(self.arrived[&request]);
                self.admitted.insert(request, waited);
                let vm = self.vms.get_mut(&instance).expect("it is there");
                assert_eq!(vm.phase, Phase::Running);
                vm.in_flight.insert(request);
            }
            Command::Shed { request, .. } => {
                self.waiting.remove(&request);
                self.shed.insert(request, action);
            }
            _ => unreachable!("no other commands"),
        }
        None
    }
}

/// Whether no window holds more than the limit allows.
pub(crate) fn within(times: &[Timestamp], per_second: u64, burst: u64) -> bool {
    times.iter().enumerate().all(|(first, from)| {
        times[first..].iter().zip(1_u64..).all(|(to, count)| {
            let earned = u128::from(per_second) * to.saturating_since(*from).as_nanos();
            u128::from(count) * 1_000_000_000 <= u128::from(burst) * 1_000_000_000 + earned
        })
    })
}
