use std::collections::BTreeMap;
use std::vec::Vec;

use super::agenda::{Agenda, What};
use super::config::LiveConfig;
use super::cores::Cores;
use super::place::{Place, Vm};
use crate::action::{Action, Command};
use crate::event::Event;
use crate::ids::{ActionId, Epoch, InstanceId, NodeId, RequestId, ServiceId};
use crate::instance::Phase;
use crate::sim::outcome::{Outcome, ServiceOutcome};
use crate::sim::random::Random;
use crate::sim::trace::Trace;
use crate::time::Timestamp;

/// The instances, the requests and the time that a scheduler does not see.
pub(super) struct World<'a> {
    trace: &'a Trace,
    pub(super) config: &'a LiveConfig,
    pub(super) now_ns: u64,
    pub(super) places: Vec<Place>,
    pub(super) agenda: Agenda,
    cores: Option<(Cores, BTreeMap<u64, What>)>,
    pieces: u64,
    pub(super) random: Random,
    sums: Vec<ServiceOutcome>,
    pub(super) outcome: Outcome,
    /// The last action there was, whether it came here or was lost.
    pub(super) last_action: ActionId,
    pub(super) late: u64,
    pub(super) lost_in_flight: u64,
    /// Nodes that are down, and until when.
    down: BTreeMap<NodeId, u64>,
    /// Starts that went beyond the memory of a node.
    pub(super) over_budget: u64,
    /// Instances that were to be parked while they worked.
    pub(super) busy_parks: u64,
}

/// How long a lost node stays away.
const DOWN_NS: u64 = 2_000_000_000;

impl<'a> World<'a> {
    /// `memory_bytes`: of an instance, by service.
    pub(super) fn new(trace: &'a Trace, config: &'a LiveConfig, memory_bytes: &[u64]) -> Self {
        let horizon_ns = trace.end_us().saturating_mul(1_000);
        let place = |(id, memory_bytes): (u64, &u64)| Place::new(ServiceId(id), *memory_bytes, horizon_ns);
        Self {
            trace,
            config,
            now_ns: 0,
            places: (0..).zip(memory_bytes).map(place).collect(),
            agenda: Agenda::default(),
            cores: config
                .cores
                .map(|cores| (Cores::new(cores.max(1)), BTreeMap::new())),
            pieces: 0,
            random: Random::new(config.seed),
            sums: trace.services.iter().map(|_| ServiceOutcome::default()).collect(),
            outcome: Outcome::default(),
            last_action: ActionId::default(),
            late: 0,
            lost_in_flight: 0,
            down: BTreeMap::new(),
            over_budget: 0,
            busy_parks: 0,
        }
    }

    /// When something happens next.
    pub(super) fn next_ns(&self) -> Option<u64> {
        let work = self.cores.as_ref().and_then(|(cores, _)| cores.next_ns());
        [work, self.agenda.next_ns()].into_iter().flatten().min()
    }

    /// What happens now.
    pub(super) fn pop(&mut self) -> Option<What> {
        if let Some((cores, pieces)) = &mut self.cores
            && cores.next_ns().is_some_and(|at| at <= self.now_ns)
        {
            return cores.pop(self.now_ns).and_then(|piece| pieces.remove(&piece));
        }
        self.agenda.pop()
    }

    /// Something that keeps a core busy for so long, if it has one of its own.
    fn work(&mut self, work_ns: u64, then: What) {
        match &mut self.cores {
            None => self.agenda.plan(self.now_ns.saturating_add(work_ns), then),
            Some((cores, pieces)) => {
                self.pieces += 1;
                pieces.insert(self.pieces, then);
                cores.begin(self.now_ns, self.pieces, work_ns);
            }
        }
    }

    /// The next request of a service comes.
    pub(super) fn arrive(&mut self, at: usize) -> Event {
        let place = &mut self.places[at];
        let request = RequestId(place.arrived);
        place.arrived += 1;
        place.waiting.insert(request, self.now_ns);
        self.sums[at].requests += 1;
        Event::RequestQueued {
            service: place.service,
            request,
        }
    }

    /// Does what it is told; the answer, if there is one at once.
    pub(super) fn apply(&mut self, action: &Action) -> Option<Event> {
        let at = usize::try_from(action.service.0).ok()?;
        self.places.get(at)?;
        match action.command {
            Command::Start {
                instance,
                epoch,
                node,
                ..
            } => self.start(at, instance, epoch, node),
            Command::Park { instance, epoch, .. } => self.park(at, instance, epoch),
            Command::Stop { instance, epoch } => self.stop(at, instance, epoch),
            Command::Admit {
                request,
                instance,
                epoch,
            } => self.admit(at, request, instance, epoch),
            Command::Shed { request, .. } => {
                self.shed(at, request);
                None
            }
        }
    }

    fn start(&mut self, at: usize, instance: InstanceId, epoch: Epoch, node: NodeId) -> Option<Event> {
        let (now, place) = (self.now_ns, &mut self.places[at]);
        if place.vms.get(&instance).is_some_and(|vm| vm.epoch >= epoch) {
            return None;
        }
        if self.down.get(&node).is_some_and(|until| *until > now) {
            return Some(Event::InstanceFailed {
                service: place.service,
                instance,
                epoch,
            });
        }
        place.starts(instance, node, epoch, now);
        self.sums[at].starts += 1;
        self.outcome.add_start(now / 1_000);
        self.check_budget(node);
        let takes = self.config.draw_start_ns(&mut self.random);
        self.work(takes, What::Progress(at, instance, epoch));
        None
    }

    fn park(&mut self, at: usize, instance: InstanceId, epoch: Epoch) -> Option<Event> {
        let place = &mut self.places[at];
        let service = place.service;
        let Some(vm) = place.vms.get_mut(&instance) else {
            return Some(exited(service, instance, epoch));
        };
        if vm.epoch >= epoch {
            return None;
        }
        vm.epoch = epoch;
        vm.phase = Phase::Parking;
        self.busy_parks += u64::from(!vm.in_flight.is_empty());
        let takes = self.config.park_us.saturating_mul(1_000);
        let done = self.now_ns.saturating_add(takes);
        self.agenda.plan(done, What::Progress(at, instance, epoch));
        None
    }

    fn stop(&mut self, at: usize, instance: InstanceId, epoch: Epoch) -> Option<Event> {
        let place = &mut self.places[at];
        if place.vms.get(&instance).is_some_and(|vm| vm.epoch >= epoch) {
            return None;
        }
        self.lost_in_flight += place.dies(instance, self.now_ns);
        Some(exited(place.service, instance, epoch))
    }

    fn shed(&mut self, at: usize, request: RequestId) {
        let place = &mut self.places[at];
        if let Some(since) = place.waiting.remove(&request) {
            place.ended += 1;
            self.sums[at].shed += 1;
            let waited_ns = self.now_ns - since;
            self.late += u64::from(waited_ns > self.config.deadline_us.saturating_mul(1_000));
        }
    }

    fn admit(&mut self, at: usize, request: RequestId, instance: InstanceId, epoch: Epoch) -> Option<Event> {
        let now = self.now_ns;
        let place = &mut self.places[at];
        let service = place.service;
        let Some(vm) = place.vms.get_mut(&instance) else {
            return Some(exited(service, instance, epoch));
        };
        if vm.epoch != epoch || vm.phase != Phase::Running {
            return None;
        }
        let Some(since) = place.waiting.remove(&request) else {
            let is_here = vm.in_flight.contains_key(&request);
            return (!is_here).then_some(Event::RequestDone { service, request });
        };
        vm.in_flight.insert(request, now);
        let waited_us = (now - since) / 1_000;
        self.outcome.waits.add(waited_us);
        let sum = &mut self.sums[at];
        sum.wait_us += waited_us;
        sum.delayed += u64::from(now > since);
        self.late += u64::from(waited_us > self.config.deadline_us);
        let index = usize::try_from(request.0).unwrap_or(usize::MAX);
        let traced = self.trace.services[at].requests.get(index);
        let runs_ns = traced.map_or(0, |request| request.runs_us).saturating_mul(1_000);
        self.work(runs_ns, What::Served(at, instance, request));
        None
    }

    /// An instance is done with what it was told.
    pub(super) fn progress(&mut self, at: usize, instance: InstanceId, epoch: Epoch) -> Option<Event> {
        let now = self.now_ns;
        let fails = self.random.chance(self.config.faults.failed_start);
        let place = &mut self.places[at];
        let service = place.service;
        let vm = place.vms.get_mut(&instance).filter(|vm| vm.epoch == epoch)?;
        match vm.phase {
            Phase::Starting if fails => {
                self.lost_in_flight += place.dies(instance, now);
                Some(Event::InstanceFailed {
                    service,
                    instance,
                    epoch,
                })
            }
            Phase::Starting => {
                vm.phase = Phase::Running;
                Some(Event::InstanceReady {
                    service,
                    instance,
                    epoch,
                })
            }
            Phase::Parking if vm.in_flight.is_empty() => {
                place.sleeps(instance, now);
                Some(Event::InstanceParked {
                    service,
                    instance,
                    epoch,
                    written_bytes: 0,
                })
            }
            Phase::Parking => {
                vm.phase = Phase::Running;
                Some(Event::ParkRefused {
                    service,
                    instance,
                    epoch,
                    last_activity: Timestamp::from_nanos(now),
                })
            }
            Phase::Running | Phase::Parked | Phase::Stopping => None,
        }
    }

    /// A request has been worked on; its instance may die of it.
    pub(super) fn served(&mut self, at: usize, instance: InstanceId, request: RequestId) -> Option<Event> {
        let now = self.now_ns;
        let place = &mut self.places[at];
        let service = place.service;
        if !place.served(instance, request, now) {
            return None;
        }
        if !self.random.chance(self.config.faults.death) {
            return Some(Event::RequestDone { service, request });
        }
        let epoch = place.vms.get(&instance)?.epoch;
        self.lost_in_flight += place.dies(instance, now);
        Some(exited(service, instance, epoch))
    }

    /// One of the nodes is lost, and comes back empty.
    pub(super) fn lose_node(&mut self) -> Event {
        let now = self.now_ns;
        let node = NodeId(self.random.below(self.config.nodes.max(1)));
        for place in &mut self.places {
            let here = |(id, vm): (&InstanceId, &Vm)| (vm.node == node).then_some(*id);
            let lost: Vec<_> = place.vms.iter().filter_map(here).collect();
            for instance in lost {
                self.lost_in_flight += place.dies(instance, now);
            }
        }
        let back = now.saturating_add(DOWN_NS);
        self.down.insert(node, back);
        let config = self.config.settings.limits.node.clone();
        let up = Event::NodeUp { node, config };
        self.agenda.plan(back, What::Tell(up));
        Event::NodeDown { node }
    }

    fn check_budget(&mut self, node: NodeId) {
        if let Some(memory_bytes) = self.config.settings.limits.node.memory_bytes {
            let used: u64 = self.places.iter().map(|place| place.awake_bytes(node)).sum();
            self.over_budget += u64::from(used > memory_bytes);
        }
    }

    /// Requests that have not ended.
    pub(super) fn open(&self) -> u64 {
        self.places.iter().map(|place| place.arrived - place.ended).sum()
    }

    /// What it all came to.
    pub(super) fn close(mut self) -> Outcome {
        for (at, place) in self.places.iter_mut().enumerate() {
            place.close(self.now_ns);
            let sum = &mut self.sums[at];
            sum.idle_us = place.awake_ns.saturating_sub(place.busy_ns) / 1_000;
            self.outcome.add_service(self.trace.services[at].memory_mb, sum);
        }
        self.outcome.settle()
    }
}

fn exited(service: ServiceId, instance: InstanceId, epoch: Epoch) -> Event {
    Event::InstanceExited {
        service,
        instance,
        epoch,
    }
}
