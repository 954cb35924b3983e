use core::fmt;
use std::vec::Vec;

use super::agenda::What;
use super::config::LiveConfig;
use super::faults::{Clock, Fate};
use super::world::World;
use crate::action::Action;
use crate::config::ValidConfig;
use crate::event::Event;
use crate::ids::{NodeId, ServiceId};
use crate::invariants::Violation;
use crate::policy::Policy;
use crate::scheduler::Scheduler;
use crate::sim::outcome::Outcome;
use crate::sim::trace::{ServiceTrace, Trace};
use crate::time::Timestamp;

/// What came of running a trace through a real scheduler, beside its costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveCounts {
    /// Events that the scheduler was told.
    pub events: u64,
    /// Actions that it decided.
    pub actions: u64,
    /// Requests that were served or refused after their deadline.
    pub late: u64,
    /// Requests that never ended.
    pub unended: u64,
    /// Requests that died with their instance.
    pub lost_in_flight: u64,
    /// Times that an instance was to be parked while it worked; with nothing lost, 0.
    pub busy_parks: u64,
    /// Starts that went beyond the memory of their node.
    pub over_budget: u64,
    /// The first rule that was found broken.
    pub violation: Option<Violation>,
}

impl LiveCounts {
    /// Whether every request ended in time, the budget was kept and no rule was found broken.
    pub fn is_sound(&self) -> bool {
        self.late == 0 && self.unended == 0 && self.over_budget == 0 && self.violation.is_none()
    }
}

impl fmt::Display for LiveCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            events,
            actions,
            late,
            unended,
            lost_in_flight,
            busy_parks,
            over_budget,
            violation,
        } = self;
        write!(
            f,
            "{events} events, {actions} actions; {late} requests late, {unended} never ended, {lost_in_flight} died with \
             their instance; {busy_parks} parks of a busy instance, {over_budget} starts over budget; "
        )?;
        match violation {
            None => f.write_str("no rule broken"),
            Some(violation) => violation.fmt(f),
        }
    }
}

/// How long after the last arrival the last request may end.
const PATIENCE_NS: u64 = 600_000_000_000;
/// How late a late notification is, on average.
const LATE_NS: f64 = 50e6;

/// Runs a trace through a scheduler under a policy: services are numbered from 0, and `service` configures each.
/// `watch` sees every event with its time and the actions that follow, in their order.
///
/// A trace, a configuration and a seed always give the same events.
pub fn run_live<P: Policy>(
    trace: &Trace,
    config: &LiveConfig,
    policy: P,
    service: impl Fn(&ServiceTrace) -> ValidConfig,
    watch: &mut dyn FnMut(Timestamp, &Event, &[Action]),
) -> (Outcome, LiveCounts) {
    let services: Vec<_> = trace.services.iter().map(service).collect();
    let memory: Vec<_> = services
        .iter()
        .map(|service| service.resources.memory_bytes)
        .collect();
    let mut live = Live {
        world: World::new(trace, config, &memory),
        scheduler: Scheduler::with_policy(&config.settings, policy),
        clock: Clock::default(),
        out: Vec::new(),
        events: 0,
        actions: 0,
        violation: None,
        watch,
    };
    for node in 1..config.nodes {
        let (node, config) = (NodeId(node), config.settings.limits.node.clone());
        live.tell(Event::NodeUp { node, config });
    }
    for (id, config) in (0..).zip(services) {
        let service = ServiceId(id);
        live.tell(Event::ServiceConfigured { service, config });
    }
    for (at_us, event) in &config.script {
        let at_ns = at_us.saturating_mul(1_000);
        live.world.agenda.plan(at_ns, What::Tell(event.clone()));
    }
    if config.faults.any() {
        live.world.agenda.plan(0, What::TakeInventory);
    }
    let mut arrivals: Vec<(u64, usize)> = Vec::new();
    for (at, service) in trace.services.iter().enumerate() {
        arrivals.extend(service.requests.iter().map(|request| (request.at_us, at)));
    }
    arrivals.sort_unstable();
    live.run(&arrivals);
    live.close()
}

struct Live<'a, P: Policy> {
    world: World<'a>,
    scheduler: Scheduler<P>,
    clock: Clock,
    out: Vec<Action>,
    events: u64,
    actions: u64,
    violation: Option<Violation>,
    watch: &'a mut dyn FnMut(Timestamp, &Event, &[Action]),
}

impl<P: Policy> Live<'_, P> {
    fn run(&mut self, arrivals: &[(u64, usize)]) {
        let mut arrivals = arrivals.iter().peekable();
        let end_ns = arrivals
            .clone()
            .last()
            .map_or(0, |(at_us, _)| at_us.saturating_mul(1_000));
        let never = u64::MAX;
        loop {
            let arrival = arrivals
                .peek()
                .map_or(never, |(at_us, _)| at_us.saturating_mul(1_000));
            let world = self.world.next_ns().unwrap_or(never);
            let due = self.scheduler.next_deadline();
            let due = due.map_or(never, |at| self.clock.world_ns(at.as_nanos()));
            let next = arrival.min(world).min(due);
            let is_done = arrival == never && self.world.open() == 0 && next > end_ns;
            if next == never || is_done || next > end_ns.saturating_add(PATIENCE_NS) {
                break;
            }
            self.world.now_ns = self.world.now_ns.max(next);
            if next == world {
                self.happen();
            } else if next == due {
                self.tell(Event::Tick);
            } else if let Some((_, service)) = arrivals.next() {
                let event = self.world.arrive(*service);
                self.notify(event);
            }
        }
    }

    fn happen(&mut self) {
        let event = match self.world.pop() {
            None => None,
            Some(What::Tell(event)) => return self.tell(event),
            Some(What::Progress(at, instance, epoch)) => self.world.progress(at, instance, epoch),
            Some(What::Served(at, instance, request)) => self.world.served(at, instance, request),
            Some(What::TakeInventory) => return self.take_inventory(),
        };
        if let Some(event) = event {
            self.notify(event);
        }
    }

    fn take_inventory(&mut self) {
        let world = &mut self.world;
        if world.random.chance(world.config.faults.node_loss) {
            let event = world.lose_node();
            self.notify(event);
        }
        let as_of = self.world.last_action;
        let there = self.world.places.iter().filter(|place| !place.is_empty());
        let inventories: Vec<_> = there.map(|place| place.inventory(as_of)).collect();
        for inventory in inventories {
            self.notify(inventory);
        }
        let next = self
            .world
            .now_ns
            .saturating_add(self.world.config.inventory_us.saturating_mul(1_000));
        self.world.agenda.plan(next, What::TakeInventory);
    }

    /// Sends a notification on its way to the scheduler.
    fn notify(&mut self, event: Event) {
        let world = &mut self.world;
        match world.config.faults.fate(&mut world.random) {
            Fate::Arrives => self.tell(event),
            Fate::IsLost => {}
            Fate::ArrivesTwice => {
                self.tell(event.clone());
                self.tell(event);
            }
            Fate::IsLate => {
                let late = crate::sim::random::micros(world.random.exponential(LATE_NS));
                world
                    .agenda
                    .plan(world.now_ns.saturating_add(late), What::Tell(event));
            }
        }
    }

    /// The scheduler learns of it, and what it decides is done.
    fn tell(&mut self, event: Event) {
        let world = &mut self.world;
        let now = self
            .clock
            .read(world.now_ns, &world.config.faults, &mut world.random);
        let now = Timestamp::from_nanos(now);
        let mut out = core::mem::take(&mut self.out);
        self.scheduler.handle(now, event.clone(), &mut out);
        (self.watch)(now, &event, &out);
        self.events += 1;
        self.actions += out.len() as u64;
        for action in out.drain(..) {
            world.last_action = action.id;
            let times = match world.config.faults.fate(&mut world.random) {
                Fate::Arrives | Fate::IsLate => 1,
                Fate::IsLost => 0,
                Fate::ArrivesTwice => 2,
            };
            for _ in 0..times {
                if let Some(answer) = world.apply(&action) {
                    world.agenda.plan(world.now_ns, What::Tell(answer));
                }
            }
        }
        self.out = out;
        self.check();
    }

    fn check(&mut self) {
        let every = self.world.config.check_every;
        if every == 0 || !self.events.is_multiple_of(every) || self.violation.is_some() {
            return;
        }
        let lost = self.world.places.iter().find(|place| !place.is_conserved());
        self.violation = match lost {
            Some(place) => Some(Violation {
                service: Some(place.service),
                rule: "arrived = ended + waiting + in flight",
            }),
            None => self.scheduler.check_invariants().err(),
        };
    }

    fn close(self) -> (Outcome, LiveCounts) {
        let counts = LiveCounts {
            events: self.events,
            actions: self.actions,
            late: self.world.late,
            unended: self.world.open(),
            lost_in_flight: self.world.lost_in_flight,
            busy_parks: self.world.busy_parks,
            over_budget: self.world.over_budget,
            violation: self.violation,
        };
        let mut outcome = self.world.close();
        for service in self.scheduler.services() {
            outcome.add_learned(self.scheduler.policy().learned_bytes(service));
        }
        (outcome, counts)
    }
}
