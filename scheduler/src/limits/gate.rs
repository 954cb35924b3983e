use alloc::collections::{BTreeMap, BTreeSet};

use crate::ids::{NodeId, ServiceId, TenantId};
use crate::limits::aside::Aside;
use crate::limits::blocked::{Blocked, Scope};
use crate::limits::bucket::Bucket;
use crate::limits::config::LimitsConfig;
use crate::limits::node::{Purpose, StartHere};
use crate::limits::nodes::{Nodes, Spot};
use crate::limits::random::Random;
use crate::limits::rotation::{Head, Rotation};
use crate::limits::tenants::Tenants;
use crate::time::Timestamp;

/// The least that a start costs its tenant in the rotation, in bytes.
const LEAST_COST: u64 = 16 << 20;

/// Node 0 is there from the beginning.
const FIRST_NODE: NodeId = NodeId(0);

/// What is shared by all services and scarce: starts, memory, the writing that parks do. Says who may start, where and
/// when; who may not now gets a place in line and keeps it.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(super) config: LimitsConfig,
    pub(super) nodes: Nodes,
    pub(super) tenants: Tenants,
    pub(super) starts: Bucket,
    pub(super) parks: Bucket,
    /// Counts parks, while the owner catches up.
    pub(super) stalled_parks: Bucket,
    pub(super) stalled: bool,
    pub(super) random: Random,
    pub(super) rotation: Rotation,
    pub(super) aside: Aside,
    /// Tenants that wait for a start token of their own.
    pub(super) held: BTreeSet<(Timestamp, TenantId)>,
    /// Where memory is kept, and for whom.
    pub(super) kept: BTreeMap<ServiceId, NodeId>,
    /// Bytes of instances that are to be awake always, and are not.
    pub(super) unfilled: u64,
    /// Nodes that have to move something to disk.
    pub(super) hungry: BTreeSet<NodeId>,
    /// When the next token comes for those that wait for one.
    starts_at: Option<Timestamp>,
    pub(super) evict_at: Option<Timestamp>,
    /// When all that was due is to be looked at again; the slot of the timer.
    pub(crate) alarm: Option<Timestamp>,
}

/// What a service asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) service: ServiceId,
    pub(crate) tenant: TenantId,
    pub(crate) priority: u8,
    pub(crate) purpose: Purpose,
    pub(crate) spot: Spot,
    /// Memory of the instance when it runs.
    pub(crate) bytes: u64,
    /// What it has already, asleep.
    pub(crate) held_bytes: u64,
}

/// What a service wants now, if anything.
pub(crate) type AskOf<'a> = &'a mut dyn FnMut(&Gate, ServiceId) -> Option<Ask>;

impl Ask {
    fn more(&self) -> u64 {
        self.bytes.saturating_sub(self.held_bytes)
    }

    fn pinned(&self) -> Option<NodeId> {
        match self.spot {
            Spot::On(node) => Some(node),
            Spot::Near(_) => None,
        }
    }
}

/// What becomes of a place in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is served: one start, here.
    Start(ServiceId, NodeId),
    /// It is given up: its service wants nothing any more.
    Stale(ServiceId),
}

impl Gate {
    pub(crate) fn new(config: &LimitsConfig) -> Self {
        let now = Timestamp::ZERO;
        Self {
            nodes: Nodes::new(FIRST_NODE, config.node.clone(), now),
            tenants: Tenants::default(),
            starts: Bucket::new(config.starts, now),
            parks: Bucket::new(config.park_bytes, now),
            stalled_parks: Bucket::new(Some(config.parks_after_stall), now),
            stalled: false,
            random: Random::new(config.seed),
            rotation: Rotation::default(),
            aside: Aside::default(),
            held: BTreeSet::new(),
            kept: BTreeMap::new(),
            unfilled: 0,
            hungry: BTreeSet::new(),
            starts_at: None,
            evict_at: None,
            alarm: None,
            config: config.clone(),
        }
    }

    /// Starts that wait.
    pub(crate) fn waiting(&self) -> u32 {
        u32::try_from(self.rotation.waiting() + self.aside.waiting()).unwrap_or(u32::MAX)
    }

    /// Whether a start may happen at once, and where. Who asks while others wait has to wait too.
    pub(crate) fn admit(&mut self, ask: &Ask, now: Timestamp) -> Result<NodeId, Blocked> {
        match self.waiting() {
            0 => self.choose(ask, now),
            waiting => Err(Blocked::Turn { waiting }),
        }
    }

    /// Why a start that waits does so.
    pub(crate) fn why(&self, ask: &Ask, now: Timestamp) -> Blocked {
        let waiting = self.waiting();
        match self.check(ask, now, &mut Random::new(0)) {
            Ok(_) => Blocked::Turn { waiting },
            Err(Blocked::StartRate {
                scope,
                limit,
                free_at,
                ..
            }) => Blocked::StartRate {
                scope,
                limit,
                free_at,
                waiting,
            },
            Err(blocked) => blocked,
        }
    }

    fn choose(&mut self, ask: &Ask, now: Timestamp) -> Result<NodeId, Blocked> {
        let mut random = core::mem::take(&mut self.random);
        let chosen = self.check(ask, now, &mut random);
        self.random = random;
        chosen
    }

    /// Whether a start may happen now, if it is its turn.
    fn check(&self, ask: &Ask, now: Timestamp, random: &mut Random) -> Result<NodeId, Blocked> {
        if let Some(limit) = self.starts.limit()
            && !self.starts.has(now, 1)
        {
            return Err(Blocked::StartRate {
                scope: Scope::All,
                limit,
                free_at: self.starts.next_at(now, 1),
                waiting: 0,
            });
        }
        self.tenants.check(ask.tenant, ask.more(), now)?;
        let start = StartHere {
            service: ask.service,
            purpose: ask.purpose,
            more: ask.more(),
            priority: ask.priority,
        };
        let node = self.nodes.choose(ask.spot, &start, random, now)?;
        self.check_reserve(ask, node)?;
        Ok(node)
    }

    /// What is not used is kept for instances that are to be awake always, as far as they are not.
    fn check_reserve(&self, ask: &Ask, node: NodeId) -> Result<(), Blocked> {
        if self.unfilled == 0 || ask.purpose == Purpose::Min || ask.more() == 0 {
            return Ok(());
        }
        let free_bytes = self.nodes.free().saturating_sub(self.unfilled);
        if free_bytes >= ask.more() {
            return Ok(());
        }
        Err(Blocked::Memory {
            node,
            free_bytes,
            needs_bytes: ask.more(),
            capacity_bytes: self.nodes.capacity(),
        })
    }

    /// A start was granted and happens.
    pub(crate) fn started(&mut self, ask: &Ask, node: NodeId, now: Timestamp) {
        self.starts.take(now, 1);
        self.tenants.take_start(ask.tenant, now);
        self.nodes.with(node, now, |node| node.starts.take(now, 1));
        self.unkeep(ask.service, now);
    }

    /// A place in line for one start.
    pub(crate) fn wait(&mut self, ask: &Ask, now: Timestamp) {
        let behind = u32::from(u8::MAX - ask.priority);
        let order = now + self.config.priority_step.saturating_mul(behind);
        let ticket = self.rotation.ticket(ask.service, now, order);
        let weight = self.tenants.weight(ask.tenant);
        self.rotation.enqueue(ask.tenant, weight, ticket);
    }

    /// Serves the next one in line, if anybody can be served; `ask_of` says what a service wants now, if anything.
    pub(crate) fn next(&mut self, now: Timestamp, ask_of: AskOf<'_>) -> Option<Next> {
        while let Some((at, tenant)) = self.held.first().copied()
            && at <= now
        {
            self.held.pop_first();
            self.rotation.resume(tenant);
        }
        self.aside.pass(now);
        if let Some(stale) = self.look_aside(now, ask_of) {
            return Some(stale);
        }
        self.starts_at = None;
        while let Some(head) = self.rotation.head() {
            let service = head.ticket.service;
            let Some(ask) = ask_of(self, service) else {
                self.rotation.pop(0);
                self.unkeep(service, now);
                return Some(Next::Stale(service));
            };
            if ask.tenant != head.tenant {
                self.rotation.pop(0);
                self.back_in_line(Head {
                    tenant: ask.tenant,
                    ..head
                });
                continue;
            }
            match self.choose(&ask, now) {
                Ok(node) => {
                    let cost = ask.bytes.max(LEAST_COST);
                    if self.rotation.affords(cost) {
                        self.rotation.pop(cost);
                        return Some(Next::Start(service, node));
                    }
                }
                Err(Blocked::StartRate {
                    scope: Scope::All,
                    free_at,
                    ..
                }) => {
                    self.starts_at = Some(free_at);
                    return None;
                }
                Err(blocked) => self.step_aside(head, &ask, blocked, now),
            }
        }
        None
    }

    /// When to come back although nothing happened.
    pub(crate) fn next_alarm(&self) -> Option<Timestamp> {
        let held = self.held.first().map(|(at, _)| *at);
        [self.starts_at, held, self.aside.next_due(), self.evict_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether nobody waits and nothing has to be moved.
    pub(crate) fn is_quiet(&self) -> bool {
        self.waiting() == 0 && self.hungry.is_empty() && self.alarm.is_none()
    }

    /// Services with a start waiting.
    pub(crate) fn waiting_services(&self) -> BTreeSet<ServiceId> {
        self.rotation.services().chain(self.aside.services()).collect()
    }

    /// Whoever is stranded tries again.
    pub(super) fn rescue(&mut self) {
        for (ticket, tenant) in self.aside.rescue() {
            self.back_in_line(Head { tenant, ticket });
        }
    }

    fn back_in_line(&mut self, head: Head) {
        let weight = self.tenants.weight(head.tenant);
        self.rotation.enqueue(head.tenant, weight, head.ticket);
    }

    /// The first one in line cannot be served: those behind it go on.
    fn step_aside(&mut self, head: Head, ask: &Ask, blocked: Blocked, now: Timestamp) {
        if !blocked.is_memory() && !matches!(blocked, Blocked::StartRate { .. }) {
            self.unkeep(ask.service, now);
        }
        match blocked {
            Blocked::StartRate {
                scope: Scope::Tenant(tenant),
                free_at,
                ..
            } => {
                self.rotation.hold();
                self.held.insert((free_at, tenant));
            }
            Blocked::Instances { .. } => self.rotation.hold(),
            Blocked::TenantMemory {
                needs_bytes,
                max_bytes,
                ..
            } if needs_bytes <= max_bytes => self.rotation.hold(),
            Blocked::StartRate { free_at, .. } => {
                self.rotation.pop(0);
                self.aside.put(head, ask.pinned());
                self.aside.look_at(free_at, ask.pinned());
            }
            Blocked::Memory { .. } | Blocked::Reserved { .. } => {
                self.rotation.pop(0);
                self.aside.put(head, ask.pinned());
                self.lacks_memory(head, ask, blocked, now);
            }
            _ => {
                self.rotation.pop(0);
                self.aside.strand(head);
            }
        }
    }

    /// Those aside for whom something may have become free. Returns one that wants nothing any more.
    fn look_aside(&mut self, now: Timestamp, ask_of: AskOf<'_>) -> Option<Next> {
        while let Some((line, heads)) = self.aside.next_retry() {
            for head in heads {
                let service = head.ticket.service;
                let Some(ask) = ask_of(self, service) else {
                    self.aside.take(&head.ticket, line);
                    self.unkeep(service, now);
                    self.aside.look_at(now, line);
                    return Some(Next::Stale(service));
                };
                match self.choose(&ask, now) {
                    Err(blocked) if blocked.is_memory() && ask.pinned() == line => {
                        self.lacks_memory(head, &ask, blocked, now);
                    }
                    Err(Blocked::StartRate {
                        scope: Scope::Node(_),
                        free_at,
                        ..
                    }) if ask.pinned() == line => self.aside.look_at(free_at, line),
                    _ => {
                        self.aside.take(&head.ticket, line);
                        self.back_in_line(head);
                    }
                }
            }
        }
        None
    }

    /// Room is made for it; after a while, what becomes free is kept for it.
    fn lacks_memory(&mut self, head: Head, ask: &Ask, blocked: Blocked, now: Timestamp) {
        let (node, free) = match blocked {
            Blocked::Memory { node, free_bytes, .. } => (node, free_bytes),
            Blocked::Reserved { node, .. } => (node, 0),
            _ => return,
        };
        let (service, more) = (ask.service, ask.more());
        let patience_ends = head.ticket.since + self.config.reserve_after;
        if patience_ends > now {
            self.aside.look_at(patience_ends, ask.pinned());
        } else if !self.kept.contains_key(&service) {
            let purpose = ask.purpose;
            let kept = self
                .nodes
                .with(node, now, |node| node.keep(service, more, purpose));
            if kept {
                self.kept.insert(service, node);
            }
        }
        self.make_room(node, more.saturating_sub(free), now);
    }

    /// Nothing is kept for it any more.
    fn unkeep(&mut self, service: ServiceId, now: Timestamp) {
        if let Some(node) = self.kept.remove(&service) {
            self.nodes.with(node, now, |node| node.kept = None);
            self.aside.freed(node);
        }
    }
}
