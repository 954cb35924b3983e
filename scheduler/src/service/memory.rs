use alloc::boxed::Box;

use crate::action::ParkLevel;
use crate::config::ResourceConfig;
use crate::context::Cx;
use crate::ids::{InstanceId, NodeId};
use crate::instance::{Instance, State};
use crate::ladder::RungCost;
use crate::limits::{Charge, Class, Gate, Lacking, Sleeper, Worth};
use crate::service::{Service, Standing};
use crate::time::micros;

/// What the instances of the service are charged for: the memory of their nodes.
impl Service {
    /// Brings what an instance is charged in line with what it does.
    pub(super) fn recharge(&mut self, cx: &mut Cx<'_>, id: InstanceId) {
        let Some(instance) = self.fleet.find(id) else {
            return;
        };
        let charge = self.charge_of(&cx.shared.gate, instance);
        self.set_charge(cx, id, charge);
    }

    /// All of them, after a change of what they are charged for.
    pub(super) fn recharge_all(&mut self, cx: &mut Cx<'_>) {
        for id in self.fleet.ids() {
            self.recharge(cx, id);
        }
    }

    /// None of them is charged for anything, nor has a park booked.
    pub(super) fn uncharge_all(&mut self, cx: &mut Cx<'_>) {
        for id in self.fleet.ids() {
            self.cancel_park(cx, id);
            self.set_charge(cx, id, None);
        }
    }

    pub(super) fn set_charge(&mut self, cx: &mut Cx<'_>, id: InstanceId, charge: Option<Charge>) {
        let Some(&Instance {
            node,
            charge: old,
            worth,
            ..
        }) = self.fleet.find(id)
        else {
            return;
        };
        let (tenant, now) = (self.config.resources.tenant, cx.now());
        let gate = &mut cx.shared.gate;
        gate.charge(tenant, node, (old, charge), now);
        let cached = charge.filter(|charge| charge.class == Class::Cache && gate.lists_sleepers(node));
        let service = self.id;
        let sleeper = |worth| Sleeper {
            worth,
            service,
            instance: id,
        };
        let listed = match (worth, cached) {
            (None, Some(Charge { bytes, .. })) => {
                Some(gate.list(tenant, node, sleeper, self.worth(bytes), now))
            }
            (Some(worth), None) => {
                gate.unlist(tenant, node, sleeper(worth), now);
                None
            }
            (worth, _) => worth,
        };
        if (old, worth) != (charge, listed) {
            self.fleet.update(id, |instance| {
                instance.charge = charge;
                instance.worth = listed;
            });
        }
    }

    fn worth(&self, size_bytes: u64) -> Worth {
        let ladder = &self.config.ladder;
        let wake = |cost: Option<RungCost>, default: RungCost| cost.unwrap_or(default).wake;
        let more = wake(ladder.disk, RungCost::DISK).saturating_sub(wake(ladder.ram, RungCost::RAM));
        Worth {
            frequency: self.counters.admitted.max(1),
            cost_micros: micros(more).max(1),
            size_bytes,
        }
    }

    /// What an instance should be charged for.
    pub(super) fn charge_of(&self, gate: &Gate, instance: &Instance) -> Option<Charge> {
        let awake = |starting| Charge {
            class: if instance.for_min {
                Class::Reserved
            } else {
                Class::Burst
            },
            bytes: self.awake_bytes(gate, instance.resident_bytes),
            starting,
        };
        let asleep = |class| Charge {
            class,
            bytes: self.asleep_bytes(gate, instance),
            starting: false,
        };
        match instance.state {
            State::Starting { .. } => Some(awake(true)),
            State::Running { .. } | State::Parking { .. } => Some(awake(false)),
            State::Parked { level, deeper } => match (level, deeper) {
                (ParkLevel::Paused, _) => Some(awake(false)),
                (ParkLevel::Ram, None) => Some(asleep(Class::Cache)),
                (ParkLevel::Ram, Some(_)) => Some(asleep(Class::Leaving)),
                (ParkLevel::Disk, _) => None,
            },
            State::Stopping => instance.charge.map(|charge| Charge {
                starting: false,
                ..charge
            }),
        }
    }

    /// Memory of an instance that runs: as declared, less if it was measured to have less.
    pub(super) fn awake_bytes(&self, gate: &Gate, resident_bytes: u64) -> u64 {
        let declared = self.config.resources.memory_bytes;
        match (declared, resident_bytes) {
            (declared, 0) => declared,
            (0, resident) => gate.measured_charge(ResourceConfig::MAX_MEMORY_BYTES, resident),
            (declared, resident) => gate.measured_charge(declared, resident),
        }
    }

    /// Memory of an instance that sleeps in RAM: what it wrote; all it may have, if that is not known.
    pub(super) fn asleep_bytes(&self, gate: &Gate, instance: &Instance) -> u64 {
        let awake = self.awake_bytes(gate, instance.resident_bytes);
        match instance.saved_bytes {
            0 => awake,
            saved => saved.min(awake),
        }
    }

    /// Keeps memory for the instances that are to be awake always and are not.
    pub(super) fn reserve_min(&mut self, cx: &mut Cx<'_>) {
        let index = self.fleet.index();
        let missing = match self.standing {
            Standing::Offered => self.min_awake().saturating_sub(index.serving + index.arriving),
            Standing::Removed => 0,
        };
        let after = Lacking {
            tenant: self.config.resources.tenant,
            count: missing,
            bytes: self.config.resources.memory_bytes,
        };
        let before = self.lacking.as_deref().copied().unwrap_or_default();
        if before != after && (before.total(), after.total()) != (0, 0) {
            cx.shared.gate.reserve(before, after);
            self.lacking = (after.total() > 0).then(|| Box::new(after));
        }
    }

    /// Memory of an instance was measured.
    pub(crate) fn measured(
        &mut self,
        cx: &mut Cx<'_>,
        id: InstanceId,
        resident_bytes: u64,
        dirty_bytes: u64,
    ) {
        let known = self.fleet.update(id, |instance| {
            instance.resident_bytes = resident_bytes;
            instance.saved_bytes = dirty_bytes;
        });
        match known {
            None => cx.ignore(),
            Some(()) => self.recharge(cx, id),
        }
    }

    /// What sleeps on a node is to be listed from now on.
    pub(crate) fn list_sleepers(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        let there: alloc::vec::Vec<_> = self.fleet.on(node).collect();
        for id in there {
            self.recharge(cx, id);
        }
    }
}
