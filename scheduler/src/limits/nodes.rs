use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::ids::NodeId;
use crate::limits::blocked::Blocked;
use crate::limits::config::NodeConfig;
use crate::limits::node::{Buckets, Node, Purpose, StartHere};
use crate::random::Random;
use crate::time::Timestamp;

/// Where a start may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    /// Only where its saved state is.
    On(NodeId),
    /// Anywhere; best where the service ran last, for its snapshot is in the page cache there.
    Near(Option<NodeId>),
}

/// All hosts.
#[derive(Debug)]
pub(crate) struct Nodes {
    all: BTreeMap<NodeId, Node>,
    /// Those that are up, by what they have free, the fullest first.
    by_free: BTreeSet<(u64, NodeId)>,
    /// Free memory of those that are up.
    free: u128,
    /// Memory of those that are up.
    capacity: u128,
    /// Those that are up, to draw from.
    up: Vec<NodeId>,
    /// What is not refilled yet of those that were forgotten, so that one that comes back has no second burst. No longer
    /// than that: then a full bucket is the right one.
    spent: BTreeMap<NodeId, Buckets>,
}

impl Nodes {
    pub(crate) fn new(id: NodeId, config: NodeConfig, now: Timestamp) -> Self {
        let mut nodes = Self {
            all: BTreeMap::new(),
            by_free: BTreeSet::new(),
            free: 0,
            capacity: 0,
            up: Vec::new(),
            spent: BTreeMap::new(),
        };
        nodes.raise(id, config, now);
        nodes
    }

    pub(crate) fn find(&self, id: NodeId) -> Option<&Node> {
        self.all.get(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.all.values()
    }

    /// A node is there, or has a new configuration.
    pub(crate) fn raise(&mut self, id: NodeId, config: NodeConfig, now: Timestamp) {
        self.with(id, now, |node| {
            node.configure(config, now);
            node.up = true;
        });
        if let Err(place) = self.up.binary_search(&id) {
            self.up.insert(place, id);
        }
    }

    /// A node is gone; says whether it was up. It is forgotten once nothing is charged to it.
    pub(crate) fn lower(&mut self, id: NodeId, now: Timestamp) -> bool {
        let Ok(place) = self.up.binary_search(&id) else {
            return false;
        };
        self.up.remove(place);
        self.with(id, now, |node| {
            node.up = false;
            node.kept = None;
        });
        true
    }

    /// Changes one node and keeps the order right. One that nobody has announced is there, but down.
    pub(crate) fn with<R>(&mut self, id: NodeId, now: Timestamp, change: impl FnOnce(&mut Node) -> R) -> R {
        let spent = &mut self.spent;
        let node = self.all.entry(id).or_insert_with(|| {
            let mut node = Node::new(id, NodeConfig::default(), now);
            node.up = false;
            node.buckets = spent.remove(&id).unwrap_or(node.buckets);
            node
        });
        let has = |node: &Node| node.up.then(|| (node.free(), node.config.capacity()));
        let before = has(node);
        let result = change(node);
        let after = has(node);
        let idle = !node.up && node.used() == 0 && node.instances == 0;
        if before != after {
            if let Some((free, capacity)) = before {
                self.by_free.remove(&(free, id));
                self.free -= u128::from(free);
                self.capacity -= u128::from(capacity);
            }
            if let Some((free, capacity)) = after {
                self.by_free.insert((free, id));
                self.free += u128::from(free);
                self.capacity += u128::from(capacity);
            }
        }
        if idle && let Some(Node { buckets, .. }) = self.all.remove(&id) {
            self.spent.retain(|_, buckets| !buckets.are_full(now));
            if !buckets.are_full(now) {
                self.spent.insert(id, buckets);
            }
        }
        result
    }

    /// Where the start may happen now.
    ///
    /// The node where the service ran last, if it can; else the less busy one of two drawn at random (Mitzenmacher
    /// 2001), the fuller one if they are equally busy; else the fullest node that has room.
    pub(crate) fn choose(
        &self,
        spot: Spot,
        start: &StartHere,
        random: &mut Random,
        now: Timestamp,
    ) -> Result<NodeId, Blocked> {
        let near = match spot {
            Spot::On(id) => {
                let node = self.all.get(&id).ok_or(Blocked::NodeDown { node: id })?;
                return node.check(start, now).map(|()| id);
            }
            Spot::Near(near) => near,
        };
        if let Some(near) = near
            && self.can(near, start, now)
        {
            return Ok(near);
        }
        if let &[only] = self.up.as_slice() {
            let node = self.all.get(&only).ok_or(Blocked::NoNode)?;
            return match node.check(start, now) {
                Ok(()) => Ok(only),
                Err(blocked) => Err(self.too_large(start).unwrap_or(blocked)),
            };
        }
        let mut best: Option<(u64, u64, NodeId)> = None;
        for number in [random.next(), random.next()] {
            let Some(id) = self.draw(number).filter(|id| self.can(*id, start, now)) else {
                continue;
            };
            let load = self.all.get(&id).map(|node| (node.starting(), node.free(), id));
            best = best.into_iter().chain(load).min();
        }
        let best = best.map(|(_, _, id)| id);
        if let Some(best) = best {
            return Ok(best);
        }
        let mut roomy = self.by_free.range((start.more, NodeId(0))..);
        if let Some((_, fullest)) = roomy.find(|(_, id)| self.can(*id, start, now)) {
            return Ok(*fullest);
        }
        Err(self.why_nowhere(start, now))
    }

    fn can(&self, id: NodeId, start: &StartHere, now: Timestamp) -> bool {
        self.all
            .get(&id)
            .is_some_and(|node| node.check(start, now).is_ok())
    }

    fn draw(&self, number: u64) -> Option<NodeId> {
        let count = u64::try_from(self.up.len()).ok()?;
        let place = number.checked_rem(count)?;
        self.up.get(usize::try_from(place).ok()?).copied()
    }

    /// What is said of the node that is nearest to taking it: one that only lacks a token, else the one with most room.
    fn why_nowhere(&self, start: &StartHere, now: Timestamp) -> Blocked {
        if let Some(too_large) = self.too_large(start) {
            return too_large;
        }
        let mut nearest: Option<((u8, Timestamp), Blocked)> = None;
        for (_, id) in self.by_free.iter().rev() {
            let Some(Err(blocked)) = self.all.get(id).map(|node| node.check(start, now)) else {
                continue;
            };
            // What goes by itself first, then what others may give back.
            let ends = match blocked {
                Blocked::StartRate { free_at, .. } => (0, free_at),
                _ if blocked.is_memory() => (1, now),
                _ => (2, now),
            };
            if nearest.is_none_or(|(earliest, _)| ends < earliest) {
                nearest = Some((ends, blocked));
            }
        }
        nearest.map_or(Blocked::NoNode, |(_, blocked)| blocked)
    }

    /// Whether no node could take it, however empty; not asked of one that wakes, which has its node.
    fn too_large(&self, start: &StartHere) -> Option<Blocked> {
        let up = self.up.iter().filter_map(|id| self.all.get(id));
        let largest_bytes = up.map(|node| node.ceiling(start.purpose)).max()?;
        (start.more > largest_bytes).then_some(Blocked::TooLarge {
            needs_bytes: start.more,
            largest_bytes,
        })
    }

    /// The most that an instance could have that is to be awake always, on an empty node.
    pub(crate) fn largest(&self) -> u64 {
        let up = self.up.iter().filter_map(|id| self.all.get(id));
        up.map(|node| node.ceiling(Purpose::Min)).max().unwrap_or(0)
    }

    /// Memory that is free on all nodes that are up; `u64::MAX` is no limit.
    pub(crate) fn free(&self) -> u64 {
        u64::try_from(self.free).unwrap_or(u64::MAX)
    }

    /// Whether what is remembered of all of them is what they have.
    pub(crate) fn adds_up(&self) -> bool {
        let up = || self.up.iter().filter_map(|id| self.all.get(id));
        let free: u128 = up().map(|node| u128::from(node.free())).sum();
        let capacity: u128 = up().map(|node| u128::from(node.config.capacity())).sum();
        (self.free, self.capacity) == (free, capacity)
    }

    /// Memory of all nodes that are up; `u64::MAX` is no limit.
    pub(crate) fn capacity(&self) -> u64 {
        u64::try_from(self.capacity).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ServiceId;
    use crate::limits::node::{Charge, Class};
    use crate::limits::rate::RateLimit;

    const NOW: Timestamp = Timestamp::ZERO;

    fn nodes(sizes: &[u64]) -> Nodes {
        let mut nodes = Nodes::new(NodeId(0), NodeConfig::default(), NOW);
        nodes.lower(NodeId(0), NOW);
        for (id, size) in (1..).zip(sizes) {
            let config = NodeConfig {
                high_water_percent: 100,
                ..NodeConfig::with_memory(*size)
            };
            nodes.raise(NodeId(id), config, NOW);
        }
        nodes
    }

    fn use_up(nodes: &mut Nodes, id: u64, bytes: u64) {
        nodes.with(NodeId(id), NOW, |node| {
            node.add(Charge {
                class: Class::Burst,
                bytes,
                starting: false,
            });
        });
    }

    fn start(more: u64) -> StartHere {
        StartHere {
            service: ServiceId(1),
            purpose: Purpose::New,
            more,
            priority: 100,
        }
    }

    fn choose(nodes: &Nodes, near: Option<u64>, more: u64, seed: u64) -> Result<NodeId, Blocked> {
        let mut random = Random::new(seed);
        nodes.choose(Spot::Near(near.map(NodeId)), &start(more), &mut random, NOW)
    }

    #[test]
    fn the_node_with_the_snapshot_comes_first_while_it_has_room() {
        let mut nodes = nodes(&[100, 100, 100]);
        assert!((0..20).all(|seed| choose(&nodes, Some(2), 10, seed) == Ok(NodeId(2))));
        use_up(&mut nodes, 2, 95);
        assert!((0..20).all(|seed| choose(&nodes, Some(2), 10, seed) != Ok(NodeId(2))));
    }

    #[test]
    fn the_only_node_with_room_is_found_whatever_is_drawn() {
        let mut nodes = nodes(&[100; 50]);
        for id in (1..=50).filter(|id| *id != 33) {
            use_up(&mut nodes, id, 95);
        }
        assert!((0..20).all(|seed| choose(&nodes, None, 10, seed) == Ok(NodeId(33))));
    }

    #[test]
    fn two_choices_spread_the_load() {
        let mut nodes = nodes(&[1_000; 10]);
        let mut random = Random::new(1);
        let mut counts = [0_u32; 11];
        for _ in 0..500 {
            let id = nodes.choose(Spot::Near(None), &start(1), &mut random, NOW);
            let id = id.expect("there is room");
            nodes.with(id, NOW, |node| {
                node.add(Charge {
                    class: Class::Burst,
                    bytes: 1,
                    starting: true,
                });
            });
            counts[usize::try_from(id.0).expect("small")] += 1;
        }
        assert!(
            counts[1..].iter().all(|count| (45..=55).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn what_is_in_the_way_is_told_of_the_nearest_node() {
        let mut nodes = nodes(&[100, 200]);
        use_up(&mut nodes, 1, 60);
        use_up(&mut nodes, 2, 150);
        assert!(matches!(
            choose(&nodes, None, 70, 1),
            Err(Blocked::Memory {
                node: NodeId(2),
                free_bytes: 50,
                needs_bytes: 70,
                ..
            })
        ));
        assert!(matches!(
            choose(&nodes, None, 300, 1),
            Err(Blocked::TooLarge {
                needs_bytes: 300,
                largest_bytes: 200
            })
        ));
        nodes.with(NodeId(2), NOW, |node| {
            node.buckets.starts.set_limit(Some(RateLimit::new(1, 1)), NOW);
            node.config.starts = Some(RateLimit::new(1, 1));
            node.buckets.starts.take(NOW, 1);
        });
        assert!(matches!(
            choose(&nodes, None, 45, 1),
            Err(Blocked::StartRate { .. })
        ));
        nodes.lower(NodeId(1), NOW);
        nodes.lower(NodeId(2), NOW);
        assert_eq!(choose(&nodes, None, 1, 1), Err(Blocked::NoNode));
    }

    #[test]
    fn a_node_that_is_down_is_remembered_until_nothing_is_left_on_it() {
        let mut nodes = nodes(&[100]);
        use_up(&mut nodes, 1, 60);
        nodes.lower(NodeId(1), NOW);
        assert!(nodes.find(NodeId(1)).is_some());
        nodes.with(NodeId(1), NOW, |node| {
            node.subtract(Charge {
                class: Class::Burst,
                bytes: 60,
                starting: false,
            });
        });
        assert!(nodes.find(NodeId(1)).is_none());
    }
}
