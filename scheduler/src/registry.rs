mod index;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::NonZeroU32;

use crate::ids::ServiceId;
use crate::registry::index::Index;

/// Where something of a service is, so that its timers need not look for it. Given again once the service is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(NonZeroU32);

impl Slot {
    #[cfg(test)]
    pub(crate) const FIRST: Self = Self(NonZeroU32::MIN);

    fn of(number: usize) -> Self {
        let number = u32::try_from(number).ok().and_then(NonZeroU32::new);
        Self(number.expect("services take more memory than 2³² of them could have"))
    }

    fn index(self) -> usize {
        usize::try_from(self.0.get() - 1).unwrap_or(usize::MAX)
    }
}

/// Something for each service: found in O(1) by id and by slot; in the order of ids in O(n log n), for what concerns all.
#[derive(Debug)]
pub(crate) struct Registry<T> {
    slots: Vec<Option<(ServiceId, Box<T>)>>,
    free: Vec<Slot>,
    index: Index,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: Index::default(),
        }
    }
}

impl<T> Registry<T> {
    fn slot_of(&self, id: ServiceId) -> Option<Slot> {
        let is_its =
            |slot: Slot| matches!(self.slots.get(slot.index()), Some(Some((there, _))) if *there == id);
        self.index.find(id, is_its)
    }

    pub(crate) fn get(&self, id: ServiceId) -> Option<&T> {
        let slot = self.slots.get(self.slot_of(id)?.index())?;
        slot.as_ref().map(|(_, value)| value.as_ref())
    }

    /// What is there for that id, which had this slot.
    pub(crate) fn at_mut(&mut self, id: ServiceId, slot: Slot) -> Option<&mut T> {
        let (there, value) = self.slots.get_mut(slot.index())?.as_mut()?;
        (*there == id).then_some(value)
    }

    pub(crate) fn get_mut(&mut self, id: ServiceId) -> Option<&mut T> {
        self.at_mut(id, self.slot_of(id)?)
    }

    /// What is there for that id, made if there is nothing.
    pub(crate) fn get_or_insert(&mut self, id: ServiceId, make: impl FnOnce(Slot) -> T) -> &mut T {
        let slot = self.slot_of(id).unwrap_or_else(|| self.take_slot(id));
        let (_, value) = self.slots[slot.index()].get_or_insert_with(|| (id, Box::new(make(slot))));
        value
    }

    fn take_slot(&mut self, id: ServiceId) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot::of(self.slots.len())
        });
        self.index.insert(id, slot);
        slot
    }

    pub(crate) fn remove(&mut self, id: ServiceId) {
        let Some(slot) = self.slot_of(id) else { return };
        self.index.remove(id, slot);
        if let Some(place) = self.slots.get_mut(slot.index()) {
            *place = None;
            self.free.push(slot);
        }
    }

    /// In the order of the slots.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().flatten().map(|(_, value)| value.as_mut())
    }

    /// In the order of the ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ServiceId, &T)> {
        let mut all: Vec<_> = self.slots.iter().flatten().collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all.into_iter().map(|(id, value)| (*id, value.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_was_given_again_is_not_that_of_the_service_before() {
        let mut registry = Registry::default();
        let (gone, new) = (ServiceId(1), ServiceId(2));
        let slot = *registry.get_or_insert(gone, |slot| slot);
        registry.remove(gone);
        assert_eq!(
            *registry.get_or_insert(new, |slot| slot),
            slot,
            "it is given again"
        );
        assert_eq!(registry.at_mut(gone, slot), None);
        assert_eq!(registry.at_mut(new, slot), Some(&mut slot.clone()));
    }

    #[test]
    fn all_come_in_the_order_of_their_ids() {
        let mut registry = Registry::default();
        for id in [7, 3, 9, 5] {
            registry.get_or_insert(ServiceId(id), |_| id);
        }
        registry.remove(ServiceId(3));
        registry.get_or_insert(ServiceId(1), |_| 1);
        assert!(registry.iter().map(|(_, value)| *value).eq([1, 5, 7, 9]));
    }
}
