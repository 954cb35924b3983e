use alloc::boxed::Box;

use crate::few::FewMap;
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

/// The requests of one service: a FIFO of those that wait, and where each one is. Takes no memory after
/// [`release_memory`](Self::release_memory) while there are none.
#[derive(Debug, Default)]
pub(crate) struct Requests(Option<Box<Open>>);

#[derive(Debug, Default)]
struct Open {
    places: FewMap<RequestId, Place>,
    queue: FewMap<u64, Waiter>,
    next_ticket: u64,
}

impl Requests {
    pub(crate) fn place(&self, request: RequestId) -> Option<Place> {
        self.0.as_ref()?.places.get(request)
    }

    pub(crate) fn waiting(&self) -> u32 {
        let waiting = self.0.as_ref().map_or(0, |open| open.queue.len());
        u32::try_from(waiting).unwrap_or(u32::MAX)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |open| open.places.len())
    }

    /// The one that waits longest.
    pub(crate) fn front(&self) -> Option<Waiter> {
        self.0.as_ref()?.queue.first()
    }

    pub(crate) fn enqueue(&mut self, waiter: Waiter) {
        let open = self.0.get_or_insert_default();
        let ticket = open.next_ticket;
        open.next_ticket = ticket.saturating_add(1);
        open.queue.insert(ticket, waiter);
        open.places.insert(waiter.request, Place::Waiting { ticket });
    }

    /// Records that the request is in flight; it no longer waits.
    pub(crate) fn admit(&mut self, request: RequestId, instance: InstanceId, admitted_by: ActionId) {
        let open = self.0.get_or_insert_default();
        let place = Place::InFlight {
            instance,
            admitted_by,
        };
        if let Some(Place::Waiting { ticket }) = open.places.insert(request, place) {
            open.queue.remove(ticket);
        }
    }

    /// Forgets the request and says where it was.
    pub(crate) fn remove(&mut self, request: RequestId) -> Option<Place> {
        let open = self.0.as_mut()?;
        let place = open.places.remove(request)?;
        if let Place::Waiting { ticket } = place {
            open.queue.remove(ticket);
        }
        Some(place)
    }

    /// Gives back what is held on to while there are none.
    pub(crate) fn release_memory(&mut self) {
        self.0.take_if(|open| open.places.len() == 0);
    }

    /// Requests in flight, by id: where, and since which action.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = (RequestId, InstanceId, ActionId)> {
        let places = self.0.iter().flat_map(|open| open.places.iter());
        places.filter_map(|(request, place)| match place {
            Place::InFlight {
                instance,
                admitted_by,
            } => Some((request, instance, admitted_by)),
            Place::Waiting { .. } => None,
        })
    }
}
