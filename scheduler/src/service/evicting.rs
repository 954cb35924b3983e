use alloc::vec::Vec;
use core::num::NonZeroU64;

use crate::action::ParkLevel;
use crate::context::Cx;
use crate::ids::{InstanceId, NodeId};
use crate::instance::{Instance, State};
use crate::ladder::RungCost;
use crate::limits::{BrownOut, Write};
use crate::reason::Reason;
use crate::service::Service;
use crate::time::Timestamp;

/// By how much idle instances fall asleep earlier where memory is short.
const SHORTER: u32 = 4;

/// Memory is short on a node, or the node is gone.
impl Service {
    /// Whether an instance that sleeps in RAM may be moved to disk: not if it would have to come back at once.
    pub(crate) fn may_evict(&self, id: InstanceId, now: Timestamp) -> bool {
        let restore = self.config.ladder.disk.unwrap_or(RungCost::DISK).wake;
        let sleeps = self.fleet.find(id).is_some_and(|instance| {
            matches!(
                instance.state,
                State::Parked {
                    level: ParkLevel::Ram,
                    deeper: None
                }
            )
        });
        sleeps && self.prewake().is_none_or(|prewake| prewake.at > now + restore)
    }

    /// Moves an instance that sleeps in RAM to disk.
    pub(crate) fn evict(&mut self, cx: &mut Cx<'_>, id: InstanceId) {
        let Some(instance) = self.fleet.find(id) else {
            return;
        };
        let (node, bytes) = (instance.node, instance.charge.map_or(0, |charge| charge.bytes));
        let (tenant, now) = (self.config.resources.tenant, cx.now());
        cx.shared.gate.book_park(tenant, node, self.write(bytes), now);
        self.park(cx, id, ParkLevel::Disk, Reason::MemoryShort { node, bytes });
    }

    /// Whether what a park writes may be written now. If not, that is booked, and its turn comes by its timer.
    pub(super) fn may_park(&mut self, cx: &mut Cx<'_>, id: InstanceId, level: ParkLevel) -> bool {
        let Some(instance) = self.fleet.find(id) else {
            return false;
        };
        if instance.booked_bytes.is_some() {
            return true;
        }
        let bytes = match level {
            ParkLevel::Paused => 0,
            ParkLevel::Ram | ParkLevel::Disk => self.asleep_bytes(&cx.shared.gate, instance),
        };
        let (node, tenant, now) = (instance.node, self.config.resources.tenant, cx.now());
        let at = cx.shared.gate.book_park(tenant, node, self.write(bytes), now);
        if at <= now {
            return true;
        }
        let key = self.key_of(id);
        self.fleet.update(id, |instance| {
            instance.booked_bytes = NonZeroU64::new(bytes.max(1));
            cx.shared.timers.set(key, &mut instance.timer, Some(at));
        });
        false
    }

    /// A park that was booked does not happen.
    pub(super) fn cancel_park(&mut self, cx: &mut Cx<'_>, id: InstanceId) {
        let Some(&Instance {
            node,
            booked_bytes: Some(bytes),
            ..
        }) = self.fleet.find(id)
        else {
            return;
        };
        self.fleet.update(id, |instance| instance.booked_bytes = None);
        let (tenant, now) = (self.config.resources.tenant, cx.now());
        cx.shared
            .gate
            .cancel_park(tenant, node, self.write(bytes.get()), now);
    }

    fn write(&self, bytes: u64) -> Write {
        Write {
            bytes,
            declared_bytes: self.config.resources.memory_bytes,
        }
    }

    /// Where an instance that is to sleep does so: on disk, where RAM is short.
    pub(super) fn sleeps_at(&self, cx: &Cx<'_>, id: InstanceId, level: ParkLevel) -> ParkLevel {
        let node = self.fleet.find(id).map_or(NodeId(0), |instance| instance.node);
        match level {
            ParkLevel::Ram | ParkLevel::Paused if cx.shared.gate.brown_out(node) >= BrownOut::EvictCache => {
                ParkLevel::Disk
            }
            level => level,
        }
    }

    /// Whether memory is too short to wake anybody before it is asked for.
    pub(super) fn is_browned_out(&self, cx: &Cx<'_>) -> bool {
        let sleeper = self.fleet.first_parked().and_then(|id| self.fleet.find(id));
        let node = sleeper.map(|instance| instance.node).or(self.near);
        cx.shared.gate.brown_out(node.unwrap_or_default()) >= BrownOut::NoPrewakes
    }

    /// By how much an idle instance falls asleep earlier than planned.
    pub(super) fn hurry(&self, cx: &Cx<'_>, id: InstanceId) -> u32 {
        let node = self.fleet.find(id).map_or(NodeId(0), |instance| instance.node);
        match cx.shared.gate.brown_out(node) {
            BrownOut::None | BrownOut::NoPrewakes => 1,
            _ => SHORTER,
        }
    }

    /// Memory became short on a node: what is idle there falls asleep earlier.
    pub(crate) fn hurry_all(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        for id in self.fleet.on(node).collect::<Vec<_>>() {
            let key = self.key_of(id);
            self.fleet.update(id, |instance| {
                let idle = instance.idle_since().is_some();
                if let Some(descent) = instance.descent.as_mut().filter(|_| idle) {
                    descent.hurry(SHORTER);
                    let deadline = descent.deadline(None);
                    cx.shared.timers.set(key, &mut instance.timer, deadline);
                }
            });
        }
    }

    /// The node is gone, with all that ran and slept there. What is needed starts elsewhere.
    pub(crate) fn node_lost(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        let lost: Vec<_> = self.fleet.on(node).collect();
        if self.near == Some(node) {
            self.near = None;
        }
        self.lose_in_flight(&lost);
        for id in &lost {
            self.forget(cx, *id);
        }
        if !lost.is_empty() {
            self.dispatch(cx);
        }
    }
}
