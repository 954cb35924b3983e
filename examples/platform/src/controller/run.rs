//! One instance in one epoch, and what there is to tell the scheduler of it.

use scheduler::{Epoch, Event, InstanceId, ServiceId, Timestamp};

/// One instance in one epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) service: ServiceId,
    pub(super) instance: InstanceId,
    pub(super) epoch: Epoch,
}

macro_rules! event {
    ($run:ident, $event:ident $(, $more:ident)*) => {
        Event::$event {
            service: $run.service,
            instance: $run.instance,
            epoch: $run.epoch,
            $($more,)*
        }
    };
}

impl Run {
    pub(super) const fn ready(self) -> Event {
        event!(self, InstanceReady)
    }

    pub(super) const fn failed(self) -> Event {
        event!(self, InstanceFailed)
    }

    pub(super) const fn parked(self, written_bytes: u64) -> Event {
        event!(self, InstanceParked, written_bytes)
    }

    pub(super) const fn park_refused(self, last_activity: Timestamp) -> Event {
        event!(self, ParkRefused, last_activity)
    }

    pub(super) const fn exited(self) -> Event {
        event!(self, InstanceExited)
    }
}
