use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};

use crate::action::ParkLevel;
use crate::ids::InstanceId;
use crate::instance::{Instance, State};

/// The instances of one service, with the indexes that every decision reads. They change only through
/// [`Fleet::update`], so that the indexes are always right.
#[derive(Debug)]
pub(crate) struct Fleet {
    instances: BTreeMap<InstanceId, Box<Instance>>,
    index: Index,
    concurrency: u32,
}

/// What is derived from the instances.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    /// Running, with a free slot, the one to be used next first: busy ones, then those idle for the shortest time.
    free: BTreeSet<(u64, InstanceId)>,
    parked: BTreeSet<(ParkLevel, InstanceId)>,
    /// Parked, with bytes on a connection.
    called: BTreeSet<InstanceId>,
    /// Running, not draining.
    pub(crate) serving: u32,
    /// Starting, not draining.
    pub(crate) arriving: u32,
    /// Parking, not draining.
    pub(crate) parking: u32,
    /// Told to stop.
    pub(crate) stopping: u32,
    /// To be told to stop once idle.
    pub(crate) draining: u32,
    /// Without requests, but with bytes on a connection.
    pub(crate) connected: u32,
}

/// Where a running instance stands among those with a free slot: what was idle longest falls asleep first.
fn turn(instance: &Instance) -> (u64, InstanceId) {
    let idle = instance.idle_since().filter(|_| instance.in_flight == 0);
    let turn = idle.map_or(0, |since| (u64::MAX - since.as_nanos()).max(1));
    (turn, instance.id)
}

impl Index {
    fn add(&mut self, instance: &Instance, concurrency: u32) {
        self.count(instance, |count| *count += 1);
        if instance.draining {
            return;
        }
        match instance.state {
            State::Running { .. } if instance.in_flight < concurrency => {
                self.free.insert(turn(instance));
            }
            State::Parked { level, .. } => {
                self.parked.insert((level, instance.id));
                if instance.active_connection().is_some() {
                    self.called.insert(instance.id);
                }
            }
            _ => {}
        }
    }

    fn remove(&mut self, instance: &Instance) {
        self.count(instance, |count| *count -= 1);
        self.free.remove(&turn(instance));
        if let State::Parked { level, .. } = instance.state {
            self.parked.remove(&(level, instance.id));
        }
        self.called.remove(&instance.id);
    }

    fn count(&mut self, instance: &Instance, change: impl Fn(&mut u32)) {
        if instance.in_flight == 0 && instance.active_connection().is_some() {
            change(&mut self.connected);
        }
        match instance.state {
            State::Stopping => change(&mut self.stopping),
            _ if instance.draining => change(&mut self.draining),
            State::Starting { .. } => change(&mut self.arriving),
            State::Running { .. } => change(&mut self.serving),
            State::Parking { .. } => change(&mut self.parking),
            State::Parked { .. } => {}
        }
    }
}

impl Fleet {
    pub(crate) fn new(concurrency: u32) -> Self {
        Self {
            instances: BTreeMap::new(),
            index: Index::default(),
            concurrency,
        }
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// The indexes as they follow from the instances.
    pub(crate) fn derive_index(&self) -> Index {
        let mut index = Index::default();
        for instance in self.instances.values() {
            index.add(instance, self.concurrency);
        }
        index
    }

    pub(crate) fn set_concurrency(&mut self, concurrency: u32) {
        self.concurrency = concurrency;
        self.index = self.derive_index();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values().map(Box::as_ref)
    }

    pub(crate) fn find(&self, id: InstanceId) -> Option<&Instance> {
        self.instances.get(&id).map(Box::as_ref)
    }

    pub(crate) fn insert(&mut self, instance: Instance) {
        self.index.add(&instance, self.concurrency);
        self.instances.insert(instance.id, Box::new(instance));
    }

    pub(crate) fn remove(&mut self, id: InstanceId) -> Option<Box<Instance>> {
        let instance = self.instances.remove(&id)?;
        self.index.remove(&instance);
        Some(instance)
    }

    /// Changes one instance and keeps the indexes right.
    pub(crate) fn update<R>(&mut self, id: InstanceId, change: impl FnOnce(&mut Instance) -> R) -> Option<R> {
        let instance = self.instances.get_mut(&id)?;
        self.index.remove(instance);
        let result = change(instance);
        self.index.add(instance, self.concurrency);
        Some(result)
    }

    /// Gives back what empty trees hold on to.
    pub(crate) fn release_memory(&mut self) {
        let Index {
            free, parked, called, ..
        } = &mut self.index;
        if free.is_empty() {
            *free = BTreeSet::new();
        }
        if parked.is_empty() {
            *parked = BTreeSet::new();
        }
        if called.is_empty() {
            *called = BTreeSet::new();
        }
    }

    /// The instance that takes the next request: a busy one with a free slot, the oldest; or the one that was idle for
    /// the shortest time, so that those not needed stay idle.
    pub(crate) fn first_free(&self) -> Option<InstanceId> {
        self.index.free.first().map(|(_, id)| *id)
    }

    /// The one that is quickest to wake.
    pub(crate) fn first_parked(&self) -> Option<InstanceId> {
        self.index.parked.first().map(|(_, id)| *id)
    }

    pub(crate) fn first_called(&self) -> Option<InstanceId> {
        self.index.called.first().copied()
    }

    /// Instances that count against the most there may be: all but those being stopped or to be stopped.
    pub(crate) fn kept(&self) -> u32 {
        let all = u32::try_from(self.instances.len()).unwrap_or(u32::MAX);
        all.saturating_sub(self.index.stopping)
            .saturating_sub(self.index.draining)
    }

    /// Requests for which the instances on their way have room.
    pub(crate) fn arriving_slots(&self) -> u64 {
        u64::from(self.index.arriving) * u64::from(self.concurrency)
    }
}
