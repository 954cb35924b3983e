use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// So many are searched faster in a row than in a tree.
const FEW: usize = 8;

/// A sorted map that mostly holds a few entries: in a row, without an allocation per entry; in a tree, once they are
/// many, until it is empty. Every operation is O(log n).
#[derive(Debug)]
pub(crate) enum FewMap<K, V> {
    Few(Vec<(K, V)>),
    Many(BTreeMap<K, V>),
}

impl<K, V> Default for FewMap<K, V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<K: Ord + Copy, V: Copy> FewMap<K, V> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(row) => row.len(),
            Self::Many(tree) => tree.len(),
        }
    }

    pub(crate) fn get(&self, key: K) -> Option<V> {
        match self {
            Self::Few(row) => row
                .iter()
                .find(|(there, _)| *there == key)
                .map(|(_, value)| *value),
            Self::Many(tree) => tree.get(&key).copied(),
        }
    }

    pub(crate) fn first(&self) -> Option<V> {
        match self {
            Self::Few(row) => row.first().map(|(_, value)| *value),
            Self::Many(tree) => tree.first_key_value().map(|(_, value)| *value),
        }
    }

    /// Returns what was there.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let row = match self {
            Self::Many(tree) => return tree.insert(key, value),
            Self::Few(row) => row,
        };
        match row.iter().position(|(there, _)| *there >= key) {
            Some(place) if row[place].0 == key => Some(core::mem::replace(&mut row[place].1, value)),
            _ if row.len() == FEW => {
                let mut tree: BTreeMap<K, V> = row.drain(..).collect();
                tree.insert(key, value);
                *self = Self::Many(tree);
                None
            }
            place => {
                row.insert(place.unwrap_or(row.len()), (key, value));
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        match self {
            Self::Few(row) => {
                let place = row.iter().position(|(there, _)| *there == key)?;
                Some(row.remove(place).1)
            }
            Self::Many(tree) => {
                let removed = tree.remove(&key);
                if tree.is_empty() {
                    *self = Self::default();
                }
                removed
            }
        }
    }

    /// In the order of their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, V)> {
        let (row, tree) = match self {
            Self::Few(row) => (Some(row), None),
            Self::Many(tree) => (None, Some(tree)),
        };
        let row = row.into_iter().flatten().copied();
        row.chain(tree.into_iter().flatten().map(|(key, value)| (*key, *value)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_sorted_map_however_many_there_are(steps in prop::collection::vec((0..24u8, prop::option::of(any::<u8>())), 1..200)) {
            let (mut map, mut model) = (FewMap::default(), BTreeMap::new());
            for (key, value) in steps {
                match value {
                    Some(value) => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                    None => prop_assert_eq!(map.remove(key), model.remove(&key)),
                }
                prop_assert_eq!((map.len(), map.get(key)), (model.len(), model.get(&key).copied()));
                prop_assert_eq!(map.first(), model.first_key_value().map(|(_, value)| *value));
                prop_assert!(map.iter().eq(model.iter().map(|(key, value)| (*key, *value))));
            }
        }
    }
}
