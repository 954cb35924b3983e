use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use crate::event::Event;
use crate::ids::{ActionId, Epoch, InstanceId, NodeId, RequestId, ServiceId};
use crate::instance::Phase;
use crate::inventory::{InstanceReport, Inventory};

/// What is really there of one service: its instances and the requests that are held for it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) service: ServiceId,
    pub(super) vms: BTreeMap<InstanceId, Vm>,
    /// Requests held, and since when.
    pub(super) waiting: BTreeMap<RequestId, u64>,
    /// Memory of an instance.
    pub(super) memory_bytes: u64,
    /// Requests that came so far.
    pub(super) arrived: u64,
    /// Requests served, refused, or lost with their instance.
    pub(super) ended: u64,
    /// Time of its instances awake, and at work, up to the horizon.
    pub(super) awake_ns: u64,
    pub(super) busy_ns: u64,
    horizon_ns: u64,
}

/// One instance as it really is.
#[derive(Debug)]
pub(super) struct Vm {
    pub(super) node: NodeId,
    pub(super) epoch: Epoch,
    pub(super) phase: Phase,
    pub(super) awake_since: Option<u64>,
    /// Requests it works on, and since when.
    pub(super) in_flight: BTreeMap<RequestId, u64>,
}

impl Place {
    pub(super) fn new(service: ServiceId, memory_bytes: u64, horizon_ns: u64) -> Self {
        Self {
            service,
            vms: BTreeMap::new(),
            waiting: BTreeMap::new(),
            memory_bytes,
            arrived: 0,
            ended: 0,
            awake_ns: 0,
            busy_ns: 0,
            horizon_ns,
        }
    }

    /// Whether there is anything that an inventory would tell.
    pub(super) fn is_empty(&self) -> bool {
        self.vms.is_empty() && self.waiting.is_empty()
    }

    /// Requests it has to answer for: none is ever forgotten.
    pub(super) fn is_conserved(&self) -> bool {
        let in_flight: BTreeSet<_> = self.vms.values().flat_map(|vm| vm.in_flight.keys()).collect();
        self.arrived == self.ended + self.waiting.len() as u64 + in_flight.len() as u64
    }

    /// Memory of its instances on a node that are awake.
    pub(super) fn awake_bytes(&self, node: NodeId) -> u64 {
        let awake = |vm: &&Vm| vm.node == node && vm.awake_since.is_some();
        let count = self.vms.values().filter(awake).count() as u64;
        count.saturating_mul(self.memory_bytes)
    }

    /// How much of the time from `since` to now counts.
    fn until_horizon(&self, since: u64, now: u64) -> u64 {
        now.min(self.horizon_ns).saturating_sub(since)
    }

    /// The instance is awake from now on.
    pub(super) fn starts(&mut self, id: InstanceId, node: NodeId, epoch: Epoch, now: u64) {
        let vm = self.vms.entry(id).or_insert_with(|| Vm {
            node,
            epoch,
            phase: Phase::Starting,
            awake_since: None,
            in_flight: BTreeMap::new(),
        });
        vm.epoch = epoch;
        vm.phase = Phase::Starting;
        vm.awake_since.get_or_insert(now);
    }

    /// The instance sleeps from now on.
    pub(super) fn sleeps(&mut self, id: InstanceId, now: u64) {
        let since = self.vms.get_mut(&id).and_then(|vm| {
            vm.phase = Phase::Parked;
            vm.awake_since.take()
        });
        if let Some(since) = since {
            self.awake_ns += self.until_horizon(since, now);
        }
    }

    /// The instance is gone, and what it worked on with it.
    pub(super) fn dies(&mut self, id: InstanceId, now: u64) -> u64 {
        let Some(vm) = self.vms.remove(&id) else { return 0 };
        if let Some(since) = vm.awake_since {
            self.awake_ns += self.until_horizon(since, now);
        }
        for since in vm.in_flight.values() {
            self.busy_ns += self.until_horizon(*since, now);
        }
        let lost = vm.in_flight.len() as u64;
        self.ended += lost;
        lost
    }

    /// The request is answered, if the instance still works on it.
    pub(super) fn served(&mut self, id: InstanceId, request: RequestId, now: u64) -> bool {
        let since = self.vms.get_mut(&id).and_then(|vm| vm.in_flight.remove(&request));
        if let Some(since) = since {
            self.busy_ns += self.until_horizon(since, now);
            self.ended += 1;
        }
        since.is_some()
    }

    /// Pays for what is still awake.
    pub(super) fn close(&mut self, now: u64) {
        let ids: Vec<_> = self.vms.keys().copied().collect();
        for id in ids {
            let lost = self.dies(id, now);
            self.ended -= lost;
        }
    }

    pub(super) fn inventory(&self, as_of: ActionId) -> Event {
        let report = |(instance, vm): (&InstanceId, &Vm)| InstanceReport {
            instance: *instance,
            node: vm.node,
            epoch: vm.epoch,
            phase: vm.phase,
            in_flight: vm.in_flight.keys().copied().collect(),
            connections: Vec::new(),
        };
        Event::Inventory(Inventory {
            service: self.service,
            as_of,
            waiting: self.waiting.keys().copied().collect(),
            instances: self.vms.iter().map(report).collect(),
        })
    }
}
