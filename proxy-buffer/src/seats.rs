//! The seats of a proxy behind a lock, and waiting for one.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use tokio::{sync::Notify, time::sleep_until};

use crate::{
    HoldError, LimitScope, Limits,
    seating::{Claim, Leave, Place, Seating},
    time::{Clock, Timestamp},
};

/// Bounds the connections of a proxy. At a limit, the connection that has been silent for longest makes room.
#[derive(Debug)]
pub(crate) struct Seats {
    limits: Limits,
    clock: Clock,
    /// Taken after a registry's lock, if at all; nothing is called and no other lock taken under it.
    seating: Mutex<Seating>,
    /// A seat became free, or one rests where none did.
    changed: Notify,
}

impl Seats {
    pub(crate) fn new(limits: Limits, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            limits,
            clock,
            seating: Mutex::new(Seating::new()),
            changed: Notify::new(),
        })
    }

    pub(crate) fn open_row(self: &Arc<Self>) -> Row {
        Row {
            place: self.lock().open_row(),
            seats: self.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seating> {
        // Wakers are cloned under it, which is tokio's code and does not panic.
        self.seating.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The seats of one target.
#[derive(Debug)]
pub(crate) struct Row {
    seats: Arc<Seats>,
    place: Place,
}

impl Row {
    /// A seat, if one is free.
    pub(crate) fn try_take(&self) -> Option<Seat> {
        self.claim(self.seats.clock.now(), false).ok()
    }

    /// Waits for a seat: for somebody to leave, or for the longest silent to have been silent for long enough.
    ///
    /// # Errors
    /// [`HoldError::TooManyConnections`] when nobody is silent, and none was given out for [`Limits::hold_time`].
    ///
    /// # Cancel safety
    /// Dropping the future gives up; somebody may have been asked to leave for nothing.
    pub(crate) async fn take(&self) -> Result<Seat, HoldError> {
        let Seats {
            limits,
            clock,
            changed,
            ..
        } = &*self.seats;
        let mut has_asked = false;
        loop {
            let mut change = pin!(changed.notified());
            // From here on no change is missed.
            change.as_mut().enable();
            let now = clock.now();
            let until = match self.claim(now, has_asked) {
                Ok(seat) => return Ok(seat),
                Err(Claim::Spared { until }) => until,
                Err(Claim::Full { scope, limit, since }) => {
                    let until = since.after(limits.hold_time);
                    if until <= now {
                        return Err(HoldError::TooManyConnections { scope, limit });
                    }
                    until
                }
                // It leaves as soon as its task runs.
                Err(_) => {
                    has_asked = true;
                    now.after(limits.hold_time)
                }
            };
            tokio::select! {
                biased;
                () = change => {}
                () = sleep_until(clock.deadline(until)) => {}
            }
        }
    }

    /// Why there is no seat to be had.
    pub(crate) fn too_many(&self) -> HoldError {
        let limits = &self.seats.limits;
        let full = self.seats.lock().full(self.place, limits);
        // Should one be free by now, it was taken before.
        let (scope, limit) = full.unwrap_or((LimitScope::Target, limits.connections_per_target));
        HoldError::TooManyConnections { scope, limit }
    }

    fn claim(&self, now: Timestamp, has_asked: bool) -> Result<Seat, Claim> {
        let claim = self
            .seats
            .lock()
            .claim(self.place, now, &self.seats.limits, has_asked);
        match claim {
            Claim::Granted(place) => Ok(Seat {
                seats: self.seats.clone(),
                place,
                rests: false,
            }),
            Claim::Asked(waker) => {
                waker.into_iter().for_each(Waker::wake);
                Err(Claim::Asked(None))
            }
            full => Err(full),
        }
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        self.seats.lock().close_row(self.place);
    }
}

/// The right to be connected. To be dropped after the streams that it stands for.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    place: Place,
    /// What the seating knows, unless it has asked us to leave.
    rests: bool,
}

impl Seat {
    /// Nothing is under way: the seat may be given away, and then `waker` wakes whoever sits here.
    pub(crate) fn rest(&mut self, waker: &Waker) -> Result<(), Leave> {
        let now = self.seats.clock.now();
        let of_interest = self.seats.lock().rest(self.place, now, waker)?;
        self.rests = true;
        if of_interest {
            self.seats.changed.notify_waiters();
        }
        Ok(())
    }

    /// Something is under way.
    pub(crate) fn stir(&mut self) -> Result<(), Leave> {
        if std::mem::take(&mut self.rests) {
            self.seats.lock().stir(self.place)?;
        }
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let waker = self.seats.lock().release(self.place);
        drop(waker);
        self.seats.changed.notify_waiters();
    }
}
