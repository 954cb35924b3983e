use alloc::vec::Vec;
use core::time::Duration;

use crate::action::{Action, Command};
use crate::context::{ClockFaults, Cx, Shared};
use crate::event::Event;
use crate::explain::Explanation;
use crate::ids::{InstanceId, NodeId, RequestId, ServiceId};
use crate::invariants::Violation;
use crate::inventory::Inventory;
use crate::limits::{Blocked, BrownOut, LimitsConfig, Next, NodeView, Pace, Sleeper, Tally};
use crate::log::{Decision, Log};
use crate::policy::{Cooldown, Policy};
use crate::reason::Reason;
use crate::registry::Registry;
use crate::service::Service;
use crate::time::Timestamp;
use crate::why_not::WhyNot;

/// What a client is told that asks for a service that is not there.
const UNKNOWN_SERVICE_RETRY: Duration = Duration::from_secs(1);

/// What concerns all services of a scheduler. Nothing in it is refused: what is out of range counts as
/// [`LimitsConfig`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The first id for an instance. After a restart: greater than any id used before. Default 1.
    pub first_instance: InstanceId,
    /// How many decisions [`Scheduler::decisions`] remembers. Default 256.
    pub log_len: usize,
    /// What all services share. Default: one node without limits.
    pub limits: LimitsConfig,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            first_instance: InstanceId(1),
            log_len: 256,
            limits: LimitsConfig::default(),
        }
    }
}

/// Decides when instances start, park and stop, and which request goes where.
///
/// A pure state machine: what happened goes in by [`handle`](Self::handle), what is to be done comes out. The same
/// events at the same times give the same actions.
#[derive(Debug)]
pub struct Scheduler<P: Policy = Cooldown> {
    services: Services,
    shared: Shared,
    policy: P,
}

impl Scheduler {
    /// A scheduler without services that parks after a fixed cooldown.
    pub fn new(settings: &Settings) -> Self {
        Self::with_policy(settings, Cooldown)
    }
}

impl<P: Policy> Scheduler<P> {
    /// A scheduler without services that parks when `policy` says. One that was restored keeps what it learned, except what
    /// was under way when it was saved.
    pub fn with_policy(settings: &Settings, mut policy: P) -> Self {
        policy.interrupted();
        let log = Log::new(settings.log_len);
        let shared = Shared::new(settings.first_instance, log, &settings.limits);
        Self {
            services: Registry::default(),
            shared,
            policy,
        }
    }

    /// Takes in what happened and appends to `out` what is to be done, in this order.
    ///
    /// `now` never goes back: an earlier time counts as the latest one seen. Only [`Event::Tick`] does what is due by
    /// time, so that whatever happened first has its effect first.
    pub fn handle(&mut self, now: Timestamp, event: Event, out: &mut Vec<Action>) {
        if self.shared.pass(now) {
            self.policy.interrupted();
        }
        let mut cx = Cx {
            shared: &mut self.shared,
            policy: &mut self.policy,
            out,
        };
        match event.service() {
            Some(id) => on_event(&mut self.services, &mut cx, id, event),
            None => on_general(&mut self.services, &mut cx, event),
        }
        go_on(&mut self.services, &mut cx);
    }

    /// When [`Event::Tick`] is wanted next; `None` while nothing is due at any time.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.shared.timers.next()
    }

    /// Why the service is as it is, at the time of the last event; `None` if there is no such service.
    pub fn why(&self, service: ServiceId) -> Option<Explanation> {
        self.services
            .get(service)
            .map(|known| known.explain(&self.shared.gate, self.shared.now))
    }

    /// Why nothing of the service was started, parked or stopped by the last event, and what would change it; `None` if
    /// there is no such service.
    pub fn why_not(&self, service: ServiceId) -> Option<WhyNot> {
        self.services
            .get(service)
            .map(|known| known.why_not(&self.shared.gate, self.shared.now))
    }

    /// The last decisions of all services, oldest first, except admissions.
    pub fn decisions(&self) -> impl DoubleEndedIterator<Item = &Decision> {
        self.shared.log.iter()
    }

    /// The services there are, by id; removed ones until their last instance is gone. Nothing ends the wait for the answer to a
    /// `Park` or a `Stop` but an [`Inventory`]: without it a lost one leaves a removed service here for ever.
    pub fn services(&self) -> impl Iterator<Item = ServiceId> {
        self.services.iter().map(|(id, _)| id)
    }

    /// Events that fitted nothing since the start: duplicates and those that came too late.
    pub fn ignored_events(&self) -> u64 {
        self.shared.ignored
    }

    /// The limit that keeps a start from happening that the service waits for; `None` while it waits for none.
    pub fn blocked(&self, service: ServiceId) -> Option<Blocked> {
        let known = self.services.get(service)?;
        known.blocked(&self.shared.gate, self.shared.now)
    }

    /// What a node has and uses; `None` if it is not there.
    pub fn node(&self, node: NodeId) -> Option<NodeView> {
        self.shared.gate.view(node)
    }

    /// What was wrong with the times that were told.
    pub fn clock_faults(&self) -> ClockFaults {
        self.shared.clock_faults
    }

    /// The policy, to save what it learnt.
    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// Checks every rule that must hold between two events. For tests: looks at everything.
    ///
    /// # Errors
    /// The first rule found broken.
    pub fn check_invariants(&self) -> Result<(), Violation> {
        let (mut armed, mut tally) = (0, Tally::default());
        for (_, service) in self.services.iter() {
            armed += service.check(&self.shared, &mut tally)?;
        }
        armed += usize::from(self.shared.gate.alarm.is_some());
        self.shared.gate.check_against(&tally)?;
        Violation::unless(
            armed == self.shared.timers.len(),
            None,
            "every timer has an owner",
        )
    }
}

type Services = Registry<Service>;

/// Something happened to one service.
fn on_event(services: &mut Services, cx: &mut Cx<'_>, id: ServiceId, event: Event) {
    let service = match &event {
        Event::ServiceConfigured { config, .. } | Event::ServiceAdopted { config, .. } => {
            Some(services.get_or_insert(id, |slot| Service::new(id, slot, config.clone())))
        }
        _ => services.get_mut(id),
    };
    match service {
        None => refuse(cx, &event),
        Some(service) => {
            if service.on_event(cx, event) {
                services.remove(id);
            }
        }
    }
}

/// Something happened to all.
fn on_general(services: &mut Services, cx: &mut Cx<'_>, event: Event) {
    let now = cx.now();
    match event {
        Event::Tick => on_tick(services, cx),
        Event::TenantConfigured { tenant, config } => cx.shared.gate.configure_tenant(tenant, config, now),
        Event::TenantRemoved { tenant } => {
            if !cx.shared.gate.remove_tenant(tenant, now) {
                cx.ignore();
            }
        }
        Event::NodeUp { node, config } => {
            if cx.shared.gate.node_up(node, config, now) {
                for_all(services, cx, |service, cx| service.list_sleepers(cx, node));
            }
        }
        Event::NodeCapacity { node, memory_bytes } => {
            if cx.shared.gate.node_capacity(node, memory_bytes, now) {
                for_all(services, cx, |service, cx| service.list_sleepers(cx, node));
            }
        }
        Event::NodeDown { node } => {
            if cx.shared.gate.node_down(node, now) {
                for_all(services, cx, |service, cx| service.node_lost(cx, node));
            } else {
                cx.ignore();
            }
        }
        Event::MemoryPressure {
            node,
            available_bytes,
        } => on_pressure(services, cx, node, available_bytes),
        _ => cx.ignore(),
    }
}

/// Does what is due. After the owner stood still, what is due is late by no fault of the instances.
fn on_tick(services: &mut Services, cx: &mut Cx<'_>) {
    let pace = cx.shared.pace();
    cx.shared.gate.set_pace(pace);
    while let Some(key) = cx.shared.timers.pop_due(cx.now()) {
        let Some((id, slot)) = key.service() else {
            cx.shared.gate.alarm = None;
            continue;
        };
        let gone = services
            .at_mut(id, slot)
            .is_some_and(|service| service.on_timer(cx, key));
        if gone {
            services.remove(id);
        }
    }
    cx.shared.gate.set_pace(Pace::KeepsUp);
}

fn on_pressure(services: &mut Services, cx: &mut Cx<'_>, node: NodeId, available_bytes: u64) {
    let Some(was_listed) = cx
        .shared
        .gate
        .is_up(node)
        .then(|| cx.shared.gate.lists_sleepers(node))
    else {
        return cx.ignore();
    };
    let (before, after) = cx.shared.gate.measured(node, available_bytes, cx.now());
    if !was_listed {
        for_all(services, cx, |service, cx| service.list_sleepers(cx, node));
    }
    if before < BrownOut::ShortKeep && after >= BrownOut::ShortKeep {
        for_all(services, cx, |service, cx| service.hurry_all(cx, node));
    }
    if before < BrownOut::Shed && after == BrownOut::Shed {
        for id in cx.shared.gate.waiting_services() {
            if let Some(service) = services.get_mut(id) {
                service.brown_out(cx);
                service.finish(cx);
            }
        }
    }
}

fn for_all(services: &mut Services, cx: &mut Cx<'_>, mut act: impl FnMut(&mut Service, &mut Cx<'_>)) {
    for id in services.iter().map(|(id, _)| id).collect::<Vec<_>>() {
        if let Some(service) = services.get_mut(id) {
            act(service, cx);
            if service.finish(cx) {
                services.remove(id);
            }
        }
    }
}

/// Whoever waited for something that is there now goes on; what is too much in RAM leaves it.
fn go_on(services: &mut Services, cx: &mut Cx<'_>) {
    if cx.shared.gate.is_quiet() {
        return;
    }
    let now = cx.now();
    loop {
        let next = cx
            .shared
            .gate
            .next(now, &mut |gate, id| services.get(id)?.wants(gate, now));
        let (ticket, node) = match next {
            None => break,
            Some(Next::Stale(ticket)) => (ticket, None),
            Some(Next::Start(ticket, node)) => (ticket, Some(node)),
        };
        if let Some(service) = services.get_mut(ticket.service) {
            match node {
                Some(node) => service.granted(cx, &ticket, node),
                None => service.ticket_void(cx, &ticket),
            }
            service.finish(cx);
        }
    }
    loop {
        let may = &mut |sleeper: Sleeper| {
            let service = services.get(sleeper.service);
            service.is_some_and(|service| service.may_evict(sleeper.instance, now))
        };
        let Some(victim) = cx.shared.gate.next_victim(now, may) else {
            break;
        };
        if let Some(service) = services.get_mut(victim.service) {
            service.evict(cx, victim.instance);
        }
    }
    cx.shared.set_alarm();
}

/// What is asked of a service that is not there gets an answer; what is said about it is ignored.
fn refuse(cx: &mut Cx<'_>, event: &Event) {
    match event {
        Event::RequestQueued { service, request } => shed_unknown(cx, *service, *request),
        Event::Inventory(Inventory {
            service,
            waiting,
            instances,
            ..
        }) => {
            for report in instances {
                let command = Command::Stop {
                    instance: report.instance,
                    epoch: report.epoch.next(),
                };
                cx.decide(*service, command, Reason::UnknownService);
            }
            for request in waiting {
                shed_unknown(cx, *service, *request);
            }
        }
        Event::ServiceRemoved { service } => {
            // It may have been restored.
            cx.policy.forget(*service);
            cx.ignore();
        }
        _ => cx.ignore(),
    }
}

fn shed_unknown(cx: &mut Cx<'_>, service: ServiceId, request: RequestId) {
    let command = Command::Shed {
        request,
        retry_after: UNKNOWN_SERVICE_RETRY,
    };
    cx.decide(service, command, Reason::UnknownService);
}
