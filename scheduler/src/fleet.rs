use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::action::ParkLevel;
use crate::ids::{InstanceId, NodeId};
use crate::instance::{Instance, State};

/// The instances of one service, with what every decision reads of many. They change only through
/// [`Fleet::update`], so that it is always right.
///
/// Most services have one instance or none, and most of those sleep: they take no trees, and the one is where its
/// service is.
#[derive(Debug)]
pub(crate) struct Fleet {
    instances: Instances,
    slots: Slots,
}

/// How many requests an instance takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slots {
    /// At most.
    pub(crate) hard: u32,
    /// While another has fewer.
    pub(crate) soft: u32,
}

impl Slots {
    /// How many an instance is meant to have.
    pub(crate) fn meant(self) -> u32 {
        self.hard.min(self.soft)
    }
}

#[derive(Debug)]
enum Instances {
    UpToOne(Option<Instance>),
    Many(Box<Many>),
}

#[derive(Debug, Default)]
struct Many {
    by_id: BTreeMap<InstanceId, Box<Instance>>,
    index: Index,
    ranks: Ranks,
}

/// Which of many instances comes first.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ranks {
    /// Running, with a free slot, the one to be used next first: busy ones, then those idle for the shortest time, then
    /// those that have as many requests as they are meant to have.
    free: BTreeSet<(bool, u64, InstanceId)>,
    parked: BTreeSet<(ParkLevel, InstanceId)>,
    /// Parked, with bytes on a connection.
    called: BTreeSet<InstanceId>,
}

/// How many instances do what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
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

/// Where an instance stands among those with a free slot: what was idle longest falls asleep first.
fn turn(instance: &Instance, slots: Slots) -> (bool, u64, InstanceId) {
    let idle = instance.idle_since().filter(|_| instance.in_flight == 0);
    let turn = idle.map_or(0, |since| (u64::MAX - since.as_nanos()).max(1));
    (instance.in_flight >= slots.soft, turn, instance.id)
}

fn is_free(instance: &Instance, slots: Slots) -> bool {
    let runs = matches!(instance.state, State::Running { .. });
    runs && !instance.draining && instance.in_flight < slots.hard
}

fn is_parked(instance: &Instance) -> bool {
    instance.is_parked() && !instance.draining
}

fn is_called(instance: &Instance) -> bool {
    is_parked(instance) && instance.active_connection().is_some()
}

impl Ranks {
    fn add(&mut self, instance: &Instance, slots: Slots) {
        if is_free(instance, slots) {
            self.free.insert(turn(instance, slots));
        }
        if let State::Parked { level, .. } = instance.state
            && is_parked(instance)
        {
            self.parked.insert((level, instance.id));
        }
        if is_called(instance) {
            self.called.insert(instance.id);
        }
    }

    fn remove(&mut self, instance: &Instance, slots: Slots) {
        self.free.remove(&turn(instance, slots));
        if let State::Parked { level, .. } = instance.state {
            self.parked.remove(&(level, instance.id));
        }
        self.called.remove(&instance.id);
    }
}

impl Index {
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

impl Instances {
    fn iter(&self) -> impl Iterator<Item = &Instance> {
        let (one, many) = match self {
            Self::UpToOne(one) => (one.as_ref(), None),
            Self::Many(many) => (None, Some(many.by_id.values().map(Box::as_ref))),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    fn len(&self) -> usize {
        match self {
            Self::UpToOne(one) => usize::from(one.is_some()),
            Self::Many(many) => many.by_id.len(),
        }
    }
}

impl Fleet {
    pub(crate) fn new(slots: Slots) -> Self {
        Self {
            instances: Instances::UpToOne(None),
            slots,
        }
    }

    pub(crate) fn index(&self) -> Index {
        match &self.instances {
            Instances::UpToOne(one) => {
                let mut index = Index::default();
                if let Some(instance) = one {
                    index.count(instance, |count| *count += 1);
                }
                index
            }
            Instances::Many(many) => many.index,
        }
    }

    /// The indexes as they follow from the instances.
    fn derive(&self) -> (Index, Ranks) {
        let (mut index, mut ranks) = (Index::default(), Ranks::default());
        for instance in self.instances.iter() {
            index.count(instance, |count| *count += 1);
            ranks.add(instance, self.slots);
        }
        (index, ranks)
    }

    /// Whether the indexes are as they follow from the instances.
    pub(crate) fn is_consistent(&self) -> bool {
        let (index, ranks) = self.derive();
        match &self.instances {
            Instances::UpToOne(_) => true,
            Instances::Many(many) => many.ranks == ranks && many.index == index,
        }
    }

    pub(crate) fn set_slots(&mut self, slots: Slots) {
        self.slots = slots;
        let (_, ranks) = self.derive();
        if let Instances::Many(many) = &mut self.instances {
            many.ranks = ranks;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.instances.len() == 0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Instance> {
        self.instances.iter()
    }

    pub(crate) fn ids(&self) -> Vec<InstanceId> {
        self.iter().map(|instance| instance.id).collect()
    }

    /// Those on one node.
    pub(crate) fn on(&self, node: NodeId) -> impl Iterator<Item = InstanceId> {
        let there = self.iter().filter(move |instance| instance.node == node);
        there.map(|instance| instance.id)
    }

    pub(crate) fn find(&self, id: InstanceId) -> Option<&Instance> {
        match &self.instances {
            Instances::UpToOne(one) => one.as_ref().filter(|instance| instance.id == id),
            Instances::Many(many) => many.by_id.get(&id).map(Box::as_ref),
        }
    }

    pub(crate) fn insert(&mut self, instance: Instance) {
        match &mut self.instances {
            Instances::UpToOne(slot @ None) => *slot = Some(instance),
            Instances::UpToOne(Some(_)) => {
                let mut many = Box::new(Many::default());
                let there = core::mem::replace(&mut self.instances, Instances::UpToOne(None));
                if let Instances::UpToOne(Some(first)) = there {
                    many.insert(first, self.slots);
                }
                many.insert(instance, self.slots);
                self.instances = Instances::Many(many);
            }
            Instances::Many(many) => many.insert(instance, self.slots),
        }
    }

    pub(crate) fn remove(&mut self, id: InstanceId) -> Option<Instance> {
        let instance = match &mut self.instances {
            Instances::UpToOne(one) => one.take_if(|instance| instance.id == id)?,
            Instances::Many(many) => many.remove(id, self.slots)?,
        };
        if let Instances::Many(many) = &mut self.instances
            && many.by_id.len() == 1
        {
            let last = many.by_id.pop_first().map(|(_, last)| *last);
            self.instances = Instances::UpToOne(last);
        }
        Some(instance)
    }

    /// Changes one instance and keeps the indexes right.
    pub(crate) fn update<R>(&mut self, id: InstanceId, change: impl FnOnce(&mut Instance) -> R) -> Option<R> {
        let many = match &mut self.instances {
            Instances::UpToOne(one) => {
                let instance = one.as_mut().filter(|instance| instance.id == id)?;
                return Some(change(instance));
            }
            Instances::Many(many) => many,
        };
        let instance = many.by_id.get_mut(&id)?;
        many.index.count(instance, |count| *count -= 1);
        many.ranks.remove(instance, self.slots);
        let result = change(instance);
        many.ranks.add(instance, self.slots);
        many.index.count(instance, |count| *count += 1);
        Some(result)
    }

    /// The instance that takes the next request: a busy one with a free slot, the oldest; or the one that was idle for
    /// the shortest time, so that those not needed stay idle.
    pub(crate) fn first_free(&self) -> Option<InstanceId> {
        self.first(
            |one| is_free(one, self.slots),
            |ranks| ranks.free.first().map(|(.., id)| *id),
        )
    }

    /// The one that is quickest to wake.
    pub(crate) fn first_parked(&self) -> Option<InstanceId> {
        self.first(is_parked, |ranks| ranks.parked.first().map(|(_, id)| *id))
    }

    pub(crate) fn first_called(&self) -> Option<InstanceId> {
        self.first(is_called, |ranks| ranks.called.first().copied())
    }

    fn first(
        &self,
        is: impl FnOnce(&Instance) -> bool,
        first: impl FnOnce(&Ranks) -> Option<InstanceId>,
    ) -> Option<InstanceId> {
        match &self.instances {
            Instances::UpToOne(one) => one.as_ref().filter(|one| is(one)).map(|one| one.id),
            Instances::Many(many) => first(&many.ranks),
        }
    }

    /// Instances that count against the most there may be: all but those being stopped or to be stopped.
    pub(crate) fn kept(&self) -> u32 {
        let (all, index) = (
            u32::try_from(self.instances.len()).unwrap_or(u32::MAX),
            self.index(),
        );
        all.saturating_sub(index.stopping).saturating_sub(index.draining)
    }

    /// Requests for which the instances on their way have room.
    pub(crate) fn arriving_slots(&self) -> u64 {
        u64::from(self.index().arriving) * u64::from(self.slots.hard)
    }
}

impl Many {
    fn insert(&mut self, instance: Instance, slots: Slots) {
        self.index.count(&instance, |count| *count += 1);
        self.ranks.add(&instance, slots);
        self.by_id.insert(instance.id, Box::new(instance));
    }

    fn remove(&mut self, id: InstanceId, slots: Slots) -> Option<Instance> {
        let instance = self.by_id.remove(&id)?;
        self.index.count(&instance, |count| *count -= 1);
        self.ranks.remove(&instance, slots);
        Some(*instance)
    }
}
