//! A model of the platform around a scheduler: its VMs and held requests. Does each command once, by epoch, as the
//! README asks; answers are returned, so that a test can lose them.

use std::collections::{BTreeMap, BTreeSet};

use scheduler::{
    Action, ActionId, Activity, Command, ConnectionId, Epoch, Event, InstanceId, InstanceReport, Inventory,
    NodeId, Phase, RequestId, Timestamp,
};

use crate::desk::SERVICE;

#[derive(Debug)]
pub(crate) struct Vm {
    pub(crate) epoch: Epoch,
    pub(crate) phase: Phase,
    pub(crate) in_flight: BTreeSet<RequestId>,
    pub(crate) connections: BTreeMap<ConnectionId, Activity>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Answered,
    Shed,
    ClientLeft,
    InstanceDied,
}

#[derive(Debug, Default)]
pub(crate) struct Owner {
    pub(crate) vms: BTreeMap<InstanceId, Vm>,
    pub(crate) waiting: BTreeSet<RequestId>,
    pub(crate) ended: BTreeMap<RequestId, End>,
    /// The last action there was, whether it came here or was lost.
    pub(crate) last_action: ActionId,
    next_request: u64,
}

impl Owner {
    pub(crate) fn request(&mut self) -> Event {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        self.waiting.insert(request);
        Event::RequestQueued {
            service: SERVICE,
            request,
        }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.next_request
    }

    /// Does what it is told and returns what it answers at once.
    pub(crate) fn apply(&mut self, action: &Action) -> Option<Event> {
        match action.command {
            Command::Start { instance, epoch, .. } => {
                let is_new = self.vms.get(&instance).is_none_or(|vm| vm.epoch < epoch);
                if is_new {
                    let connections = self
                        .vms
                        .remove(&instance)
                        .map(|vm| vm.connections)
                        .unwrap_or_default();
                    let vm = Vm {
                        epoch,
                        phase: Phase::Starting,
                        in_flight: BTreeSet::new(),
                        connections,
                    };
                    self.vms.insert(instance, vm);
                }
                None
            }
            Command::Park { instance, epoch, .. } => match self.vms.get_mut(&instance) {
                None => Some(exited(instance, epoch)),
                Some(vm) if vm.epoch >= epoch => None,
                Some(vm) => {
                    vm.epoch = epoch;
                    vm.phase = Phase::Parking;
                    None
                }
            },
            Command::Stop { instance, epoch } => {
                if self.vms.get(&instance).is_some_and(|vm| vm.epoch >= epoch) {
                    return None;
                }
                self.die(instance);
                Some(exited(instance, epoch))
            }
            Command::Admit {
                request,
                instance,
                epoch,
            } => match self.vms.get_mut(&instance) {
                _ if self.ended.contains_key(&request) => Some(done(request)),
                None => Some(exited(instance, epoch)),
                Some(vm)
                    if vm.epoch == epoch && vm.phase == Phase::Running && self.waiting.remove(&request) =>
                {
                    vm.in_flight.insert(request);
                    None
                }
                Some(_) => None,
            },
            Command::Shed { request, .. } => {
                if self.waiting.remove(&request) {
                    self.ended.insert(request, End::Shed);
                }
                None
            }
            _ => unreachable!("no other commands"),
        }
    }

    /// The VM finishes what it was told to do.
    pub(crate) fn progress(&mut self, instance: InstanceId, now: Timestamp, well: bool) -> Option<Event> {
        let vm = self.vms.get_mut(&instance)?;
        let (service, epoch) = (SERVICE, vm.epoch);
        match (vm.phase, well) {
            (Phase::Starting, true) => {
                vm.phase = Phase::Running;
                Some(Event::InstanceReady {
                    service,
                    instance,
                    epoch,
                })
            }
            (Phase::Starting, false) => {
                self.die(instance);
                Some(Event::InstanceFailed {
                    service,
                    instance,
                    epoch,
                })
            }
            (Phase::Parking, true) if vm.in_flight.is_empty() => {
                vm.phase = Phase::Parked;
                Some(Event::InstanceParked {
                    service,
                    instance,
                    epoch,
                    written_bytes: 0,
                })
            }
            (Phase::Parking, _) => {
                vm.phase = Phase::Running;
                Some(Event::ParkRefused {
                    service,
                    instance,
                    epoch,
                    last_activity: now,
                })
            }
            (_, true) => None,
            (_, false) => {
                self.die(instance);
                Some(exited(instance, epoch))
            }
        }
    }

    fn die(&mut self, instance: InstanceId) {
        for request in self.vms.remove(&instance).into_iter().flat_map(|vm| vm.in_flight) {
            self.ended.insert(request, End::InstanceDied);
        }
    }

    /// A request is answered, or its client leaves.
    pub(crate) fn end(&mut self, request: RequestId) -> Option<Event> {
        let how = if self.waiting.remove(&request) {
            End::ClientLeft
        } else if self.vms.values_mut().any(|vm| vm.in_flight.remove(&request)) {
            End::Answered
        } else {
            return None;
        };
        self.ended.insert(request, how);
        Some(done(request))
    }

    pub(crate) fn connection(&mut self, instance: InstanceId, activity: Option<Activity>) -> Option<Event> {
        let connections = &mut self.vms.get_mut(&instance)?.connections;
        let (service, connection) = (SERVICE, ConnectionId(1));
        match activity {
            Some(activity) => connections.insert(connection, activity),
            None => connections.remove(&connection),
        };
        Some(match activity {
            None => Event::ConnectionClosed {
                service,
                instance,
                connection,
            },
            Some(Activity::Quiet) => Event::ConnectionQuiet {
                service,
                instance,
                connection,
            },
            Some(_) => Event::ConnectionActive {
                service,
                instance,
                connection,
            },
        })
    }

    pub(crate) fn inventory(&self) -> Inventory {
        let report = |(instance, vm): (&InstanceId, &Vm)| InstanceReport {
            node: NodeId(0),
            instance: *instance,
            epoch: vm.epoch,
            phase: vm.phase,
            in_flight: vm.in_flight.iter().copied().collect(),
            connections: vm
                .connections
                .iter()
                .map(|(id, activity)| (*id, *activity))
                .collect(),
        };
        Inventory {
            service: SERVICE,
            as_of: self.last_action,
            waiting: self.waiting.iter().copied().collect(),
            instances: self.vms.iter().map(report).collect(),
        }
    }
}

fn exited(instance: InstanceId, epoch: Epoch) -> Event {
    Event::InstanceExited {
        service: SERVICE,
        instance,
        epoch,
    }
}

fn done(request: RequestId) -> Event {
    Event::RequestDone {
        service: SERVICE,
        request,
    }
}
