use alloc::collections::BTreeSet;

use crate::ids::{NodeId, TenantId};
use crate::limits::aside::Aside;
use crate::limits::ask::Ask;
use crate::limits::blocked::{Blocked, Scope};
use crate::limits::bucket::Bucket;
use crate::limits::config::LimitsConfig;
use crate::limits::keeping::Keeping;
use crate::limits::node::StartHere;
use crate::limits::nodes::Nodes;
use crate::limits::pace::Pace;
use crate::limits::reserve::Reserve;
use crate::limits::rotation::Rotation;
use crate::limits::tenants::Tenants;
use crate::random::Random;
use crate::time::Timestamp;
use crate::timers::Timer;

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
    pub(super) pace: Pace,
    pub(super) random: Random,
    pub(super) rotation: Rotation,
    pub(super) aside: Aside,
    /// Tenants that wait for a start token of their own.
    pub(super) held: BTreeSet<(Timestamp, TenantId)>,
    pub(super) keeping: Keeping,
    pub(super) reserve: Reserve,
    /// Nodes that have to move something to disk.
    pub(super) hungry: BTreeSet<NodeId>,
    /// When the next token comes for those that wait for one.
    pub(super) starts_at: Option<Timestamp>,
    pub(super) evict_at: Option<Timestamp>,
    /// When all that was due is to be looked at again; the slot of the timer.
    pub(crate) alarm: Option<Timer>,
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
            pace: Pace::default(),
            random: Random::new(config.seed),
            rotation: Rotation::default(),
            aside: Aside::default(),
            held: BTreeSet::new(),
            keeping: Keeping::default(),
            reserve: Reserve::default(),
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

    /// Where a start may happen now, if it is its turn.
    pub(super) fn choose(&mut self, ask: &Ask, now: Timestamp) -> Result<NodeId, Blocked> {
        let mut random = core::mem::take(&mut self.random);
        let chosen = self.check(ask, now, &mut random);
        self.random = random;
        chosen
    }

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

    /// A start was granted and happens.
    pub(crate) fn started(&mut self, ask: &Ask, node: NodeId, now: Timestamp) {
        self.count_start(ask.tenant, node, now);
        self.unkeep(ask.service, now);
    }

    /// A start happens, or did under another scheduler.
    pub(crate) fn count_start(&mut self, tenant: TenantId, node: NodeId, now: Timestamp) {
        self.starts.take(now, 1);
        self.tenants.take_start(tenant, now);
        self.nodes
            .with(node, now, |node| node.buckets.starts.take(now, 1));
    }

    /// When to come back although nothing happened.
    pub(crate) fn next_alarm(&self) -> Option<Timestamp> {
        let held = self.held.first().map(|(at, _)| *at);
        let (due, kept) = (self.aside.next_due(), self.keeping.next_end());
        [self.starts_at, held, due, kept, self.evict_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether nobody waits and nothing has to be moved.
    pub(crate) fn is_quiet(&self) -> bool {
        self.waiting() == 0 && self.hungry.is_empty() && self.alarm.is_none()
    }
}
