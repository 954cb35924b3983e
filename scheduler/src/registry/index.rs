use alloc::vec;
use alloc::vec::Vec;

use crate::ids::ServiceId;
use crate::registry::Slot;

/// The smallest table.
const LEAST: usize = 16;

/// Finds the slot of an id: a hash table with linear probing (Knuth, TAOCP 6.4), at most half full, without
/// tombstones. O(1) expected, for ids that their owner chose; nothing depends on the order in it.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// None, or a power of two.
    table: Vec<Option<Entry>>,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Of the hash of the id: its home, and what tells it from others.
    tag: u32,
    slot: Slot,
}

/// The end of SplitMix64 (Steele, Lea, Flood 2014): every bit of the id counts.
fn tag(id: ServiceId) -> u32 {
    let x = id.0;
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let [a, b, c, d, ..] = (x ^ (x >> 31)).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

impl Index {
    fn mask(&self) -> usize {
        self.table.len().wrapping_sub(1)
    }

    fn home(&self, tag: u32) -> usize {
        usize::try_from(tag).unwrap_or(usize::MAX) & self.mask()
    }

    /// From the home of a tag on: places and what is there, up to the first free one.
    fn probe(&self, tag: u32) -> impl Iterator<Item = (usize, Entry)> {
        let (home, mask) = (self.home(tag), self.mask());
        let places = (0..self.table.len()).map(move |step| home.wrapping_add(step) & mask);
        places.map_while(|place| Some((place, (*self.table.get(place)?)?)))
    }

    /// Where an id is; `is_at` says whether it is there.
    pub(super) fn find(&self, id: ServiceId, is_at: impl Fn(Slot) -> bool) -> Option<Slot> {
        let tag = tag(id);
        self.probe(tag)
            .filter(|(_, entry)| entry.tag == tag)
            .map(|(_, entry)| entry.slot)
            .find(|slot| is_at(*slot))
    }

    /// Of an id that is not in it.
    pub(super) fn insert(&mut self, id: ServiceId, slot: Slot) {
        if (self.len + 1) * 2 > self.table.len() {
            let larger = vec![None; (self.table.len() * 2).max(LEAST)];
            for entry in core::mem::replace(&mut self.table, larger).into_iter().flatten() {
                self.put(entry);
            }
        }
        self.put(Entry { tag: tag(id), slot });
        self.len += 1;
    }

    fn put(&mut self, entry: Entry) {
        let after = self.probe(entry.tag).last();
        let place = after.map_or(self.home(entry.tag), |(last, _)| {
            last.wrapping_add(1) & self.mask()
        });
        if let Some(free) = self.table.get_mut(place) {
            *free = Some(entry);
        }
    }

    /// Takes out an id that is at `slot`; those behind it that it kept from their home move up.
    pub(super) fn remove(&mut self, id: ServiceId, slot: Slot) {
        let tag = tag(id);
        let Some((mut hole, _)) = self.probe(tag).find(|(_, entry)| entry.slot == slot) else {
            return;
        };
        let mask = self.mask();
        let behind: Vec<_> = self
            .probe(tag)
            .skip_while(|(place, _)| *place != hole)
            .skip(1)
            .collect();
        for (place, entry) in behind {
            let (from_home, from_hole) = (place.wrapping_sub(self.home(entry.tag)), place.wrapping_sub(hole));
            if from_home & mask >= from_hole & mask {
                self.table.swap(place, hole);
                hole = place;
            }
        }
        if let Some(place) = self.table.get_mut(hole) {
            *place = None;
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Ids that collide much (few homes) and not at all, inserted and removed in any order.
        #[test]
        fn it_finds_what_is_there_and_nothing_else(steps in prop::collection::vec((0..40u64, 0..3u64, any::<bool>()), 1..300)) {
            let (mut index, mut model, mut ids) = (Index::default(), BTreeMap::new(), Vec::new());
            for (low, high, insert) in steps {
                let id = ServiceId(low | high << 62);
                let known = model.get(&id).copied();
                prop_assert_eq!(index.find(id, |slot| ids.get(slot.index()) == Some(&id)), known);
                match known {
                    None if insert => {
                        ids.push(id);
                        let slot = Slot::of(ids.len());
                        index.insert(id, slot);
                        model.insert(id, slot);
                    }
                    Some(slot) if !insert => {
                        index.remove(id, slot);
                        model.remove(&id);
                    }
                    _ => {}
                }
                prop_assert_eq!(index.len, model.len());
                prop_assert!(index.len * 2 <= index.table.len());
            }
            for (id, slot) in &model {
                prop_assert_eq!(index.find(*id, |slot| ids.get(slot.index()) == Some(id)), Some(*slot));
            }
        }
    }
}
