use crate::ids::{NodeId, ServiceId};
use crate::limits::blocked::{Blocked, Scope};
use crate::limits::bucket::Bucket;
use crate::limits::cache::Cache;
use crate::limits::config::NodeConfig;
use crate::limits::pressure::{BrownOut, Pressure};
use crate::time::Timestamp;

/// What memory is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Awake to keep `min_instances`.
    Reserved,
    /// Awake for somebody.
    Burst,
    /// Asleep in RAM.
    Cache,
    /// Asleep in RAM, on its way to disk.
    Leaving,
}

/// Memory and a place of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) class: Class,
    pub(crate) bytes: u64,
    /// It was told to start: reserved, not committed.
    pub(crate) starting: bool,
}

impl Charge {
    /// Awake or on its way.
    pub(crate) fn is_awake(&self) -> bool {
        matches!(self.class, Class::Reserved | Class::Burst)
    }
}

/// Memory that is kept free for a start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) service: ServiceId,
    pub(crate) bytes: u64,
    /// How far others may use the node.
    pub(crate) others_until: u64,
    pub(crate) since: Timestamp,
}

/// What a start is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// To keep `min_instances`.
    Min,
    /// To wake one that sleeps.
    Wake,
    /// One more.
    New,
}

impl Purpose {
    pub(crate) const ALL: [Self; 3] = [Self::Min, Self::Wake, Self::New];
}

/// What may be done on a node over time, and was.
#[derive(Debug)]
pub(crate) struct Buckets {
    pub(crate) starts: Bucket,
    /// Bytes that parks write.
    pub(crate) parks: Bucket,
}

impl Buckets {
    pub(crate) fn are_full(&self, now: Timestamp) -> bool {
        self.starts.is_full(now) && self.parks.is_full(now)
    }
}

/// One host.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) up: bool,
    pub(crate) config: NodeConfig,
    /// By class.
    used: [u64; 4],
    /// Of that, by instances that are being started.
    starting: u64,
    pub(crate) instances: u32,
    /// Kept free for a start that waited too long.
    pub(crate) kept: Option<Kept>,
    /// Nothing is kept before.
    pub(crate) keeps_from: Timestamp,
    /// Bytes that a start lacks.
    pub(crate) wanted: u64,
    /// Went above its high water and not yet below its low water.
    drains: bool,
    pub(crate) buckets: Buckets,
    pub(crate) pressure: Pressure,
    pub(crate) cache: Cache,
}

impl Node {
    pub(crate) fn new(id: NodeId, config: NodeConfig, now: Timestamp) -> Self {
        Self {
            id,
            up: true,
            buckets: Buckets {
                starts: Bucket::new(config.starts, now),
                parks: Bucket::new(config.park_bytes, now),
            },
            config,
            used: [0; 4],
            starting: 0,
            instances: 0,
            kept: None,
            keeps_from: now,
            wanted: 0,
            drains: false,
            pressure: Pressure::default(),
            cache: Cache::default(),
        }
    }

    pub(crate) fn configure(&mut self, config: NodeConfig, now: Timestamp) {
        self.buckets.starts.set_limit(config.starts, now);
        self.buckets.parks.set_limit(config.park_bytes, now);
        self.config = config;
        self.watch_water();
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.config.memory_bytes.is_some()
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.iter().sum()
    }

    pub(crate) fn used_for(&self, class: Class) -> u64 {
        self.used[slot(class)]
    }

    pub(crate) fn starting(&self) -> u64 {
        self.starting
    }

    /// `u64::MAX` is no limit.
    pub(crate) fn free(&self) -> u64 {
        match self.config.memory_bytes {
            Some(capacity) => capacity.saturating_sub(self.used()),
            None => u64::MAX,
        }
    }

    /// All the memory there is, as far as that is known.
    fn total(&self) -> u64 {
        let measured = self.used().saturating_add(self.pressure.available());
        self.config.memory_bytes.unwrap_or(measured)
    }

    pub(crate) fn add(&mut self, charge: Charge) {
        self.used[slot(charge.class)] += charge.bytes;
        if charge.starting {
            self.starting += charge.bytes;
        }
        self.instances += u32::from(charge.is_awake());
        self.watch_water();
    }

    pub(crate) fn subtract(&mut self, charge: Charge) {
        self.used[slot(charge.class)] -= charge.bytes;
        if charge.class == Class::Leaving {
            self.pressure.reclaimed(charge.bytes);
        }
        if charge.starting {
            self.starting -= charge.bytes;
        }
        self.instances -= u32::from(charge.is_awake());
        self.watch_water();
    }

    /// Most memory that may be used once a start for this purpose was granted.
    pub(crate) fn ceiling(&self, purpose: Purpose) -> u64 {
        match purpose {
            Purpose::Min | Purpose::Wake => self.config.capacity(),
            Purpose::New => self.config.high_water(),
        }
    }

    /// Keeps memory for a start.
    pub(crate) fn keep(&mut self, service: ServiceId, bytes: u64, purpose: Purpose, since: Timestamp) {
        let others_until = self.ceiling(purpose).saturating_sub(bytes);
        self.kept = Some(Kept {
            service,
            bytes,
            others_until,
            since,
        });
    }

    /// Whether an instance that takes `more` bytes may start here.
    pub(crate) fn check(&self, start: &StartHere, now: Timestamp) -> Result<(), Blocked> {
        let &StartHere {
            service,
            purpose,
            more,
            priority,
        } = start;
        if !self.up {
            return Err(Blocked::NodeDown { node: self.id });
        }
        if self.pressure.step() == BrownOut::Shed && priority < self.config.shed_below {
            return Err(Blocked::BrownOut {
                node: self.id,
                available_bytes: self.pressure.available(),
                priority,
                needs_priority: self.config.shed_below,
            });
        }
        if more > 0 && self.is_limited() {
            let free = self.ceiling(purpose).saturating_sub(self.used());
            let kept = self.kept.filter(|kept| kept.service != service && free >= more);
            // It would wait in vain for what is to be awake always.
            let could_be = |kept: &Kept| kept.others_until >= self.used_for(Class::Reserved);
            if let Some(Kept { service, bytes, .. }) =
                kept.filter(|kept| could_be(kept) && self.used().saturating_add(more) > kept.others_until)
            {
                return Err(Blocked::Reserved {
                    node: self.id,
                    service,
                    kept_bytes: bytes,
                });
            }
            if free < more {
                return Err(Blocked::Memory {
                    node: self.id,
                    free_bytes: free,
                    needs_bytes: more,
                    capacity_bytes: self.config.capacity(),
                });
            }
        }
        match self.config.starts {
            Some(limit) if !self.buckets.starts.has(now, 1) => Err(Blocked::StartRate {
                scope: Scope::Node(self.id),
                limit,
                free_at: self.buckets.starts.next_at(now, 1),
                waiting: 0,
            }),
            _ => Ok(()),
        }
    }

    fn watch_water(&mut self) {
        let stays = self.used() - self.used_for(Class::Leaving);
        if self.is_limited() && stays > self.config.high_water() {
            self.drains = true;
        } else if stays <= self.config.low_water() {
            self.drains = false;
        }
    }

    /// Bytes that are still to be moved to disk.
    pub(crate) fn to_evict(&self) -> u64 {
        if self.cache.is_empty() {
            return 0;
        }
        let leaving = self.used_for(Class::Leaving);
        let above = match self.drains {
            true => (self.used() - leaving).saturating_sub(self.config.low_water()),
            false => 0,
        };
        let missing = self.wanted.max(self.pressure.missing(self.total()));
        above.max(missing.saturating_sub(leaving))
    }

    /// Its owner measured so much available memory.
    pub(crate) fn measured(&mut self, available: u64) {
        let total = self
            .config
            .memory_bytes
            .unwrap_or_else(|| self.used().saturating_add(available));
        self.pressure.measured(available, total);
    }
}

/// What is asked of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StartHere {
    pub(crate) service: ServiceId,
    pub(crate) purpose: Purpose,
    /// Bytes it takes beyond what it has already.
    pub(crate) more: u64,
    pub(crate) priority: u8,
}

const fn slot(class: Class) -> usize {
    match class {
        Class::Reserved => 0,
        Class::Burst => 1,
        Class::Cache => 2,
        Class::Leaving => 3,
    }
}
