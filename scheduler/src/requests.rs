use alloc::collections::BTreeMap;

use crate::ids::{ActionId, InstanceId, RequestId};
use crate::time::Timestamp;

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Waiting {
        ticket: u64,
    },
    InFlight {
        instance: InstanceId,
        admitted_by: ActionId,
    },
}

/// A request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) request: RequestId,
    pub(crate) since: Timestamp,
    /// Instances needed when it had come.
    pub(crate) level: u32,
}

/// The requests of one service: a FIFO of those that wait, and where each one is.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    places: BTreeMap<RequestId, Place>,
    queue: BTreeMap<u64, Waiter>,
    next_ticket: u64,
}

impl Requests {
    pub(crate) fn place(&self, request: RequestId) -> Option<Place> {
        self.places.get(&request).copied()
    }

    pub(crate) fn waiting(&self) -> u32 {
        u32::try_from(self.queue.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// The one that waits longest.
    pub(crate) fn front(&self) -> Option<Waiter> {
        self.queue.first_key_value().map(|(_, waiter)| *waiter)
    }

    pub(crate) fn enqueue(&mut self, waiter: Waiter) {
        let ticket = self.next_ticket;
        self.next_ticket = ticket.saturating_add(1);
        self.queue.insert(ticket, waiter);
        self.places.insert(waiter.request, Place::Waiting { ticket });
    }

    /// Records that the request is in flight; it no longer waits.
    pub(crate) fn admit(&mut self, request: RequestId, instance: InstanceId, admitted_by: ActionId) {
        let place = Place::InFlight {
            instance,
            admitted_by,
        };
        if let Some(Place::Waiting { ticket }) = self.places.insert(request, place) {
            self.queue.remove(&ticket);
        }
    }

    /// Forgets the request and says where it was.
    pub(crate) fn remove(&mut self, request: RequestId) -> Option<Place> {
        let place = self.places.remove(&request)?;
        if let Place::Waiting { ticket } = place {
            self.queue.remove(&ticket);
        }
        Some(place)
    }

    /// Gives back what empty trees hold on to.
    pub(crate) fn release_memory(&mut self) {
        if self.places.is_empty() {
            self.places = BTreeMap::new();
            self.queue = BTreeMap::new();
        }
    }

    /// Requests in flight, by id: where, and since which action.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = (RequestId, InstanceId, ActionId)> {
        self.places.iter().filter_map(|(request, place)| match *place {
            Place::InFlight {
                instance,
                admitted_by,
            } => Some((*request, instance, admitted_by)),
            Place::Waiting { .. } => None,
        })
    }
}
