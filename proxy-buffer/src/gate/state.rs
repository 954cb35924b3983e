//! One target's gate: a state machine that is told the time and says what to do.

use std::time::Duration;

use super::{
    action::{Action, Actions, Admitted, Edge, Entrant, Entry, Epoch, TargetState},
    queue::{Held, HoldQueue, WaiterId},
};
use crate::{ActivateError, Busy, HoldError, LimitScope, Limits, time::Timestamp};

/// Where the backend is. Whether anybody may still enter is [`Admission`]: each phase is possible under both.
#[derive(Debug)]
enum Phase<B> {
    Asleep,
    /// The activation of the gate's epoch is outstanding. Never without a waiter.
    Waking,
    /// Never with a waiter.
    Awake(Running<B>),
    /// Never with an exchange.
    Parking {
        backend: B,
    },
}

#[derive(Debug)]
struct Running<B> {
    backend: B,
    exchanges: usize,
    busy_since: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    Open,
    Draining,
}

/// One target's gate. `W` is a waiter, `B` the backend that is kept while awake.
#[derive(Debug)]
pub(crate) struct Gate<W, B> {
    phase: Phase<B>,
    admission: Admission,
    epoch: Epoch,
    queue: HoldQueue<W>,
}

impl<W, B: Clone> Gate<W, B> {
    pub(crate) const fn new() -> Self {
        Self {
            phase: Phase::Asleep,
            admission: Admission::Open,
            epoch: Epoch::NONE,
            queue: HoldQueue::new(),
        }
    }

    pub(crate) fn state(&self) -> TargetState {
        match (self.admission, &self.phase) {
            (Admission::Draining, _) => TargetState::Draining,
            (_, Phase::Asleep) => TargetState::Asleep,
            (_, Phase::Waking) => TargetState::Waking,
            (_, Phase::Awake(_)) => TargetState::Awake,
            (_, Phase::Parking { .. }) => TargetState::Parking,
        }
    }

    pub(crate) fn is_waking(&self) -> bool {
        matches!(self.phase, Phase::Waking)
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) fn waiters(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.queue.bytes()
    }

    pub(crate) fn exchanges(&self) -> usize {
        match &self.phase {
            Phase::Awake(running) => running.exchanges,
            _ => 0,
        }
    }

    /// Begins an exchange of a connected client if the target is awake. The hot path: no actions, no allocation.
    pub(crate) fn begin(&mut self, now: Timestamp) -> Option<(Epoch, Edge)> {
        match &mut self.phase {
            Phase::Awake(running) => Some((self.epoch, running.begin(1, now))),
            _ => None,
        }
    }

    /// Ends an exchange that was begun or released in `epoch`; of no effect if the target has slept since.
    pub(crate) fn end(&mut self, now: Timestamp, epoch: Epoch) -> Edge {
        match &mut self.phase {
            Phase::Awake(running) if self.epoch == epoch => running.end(now),
            _ => Edge::Same,
        }
    }

    /// Lets a request pass that need not wait.
    pub(crate) fn admit(&mut self, now: Timestamp, entrant: Entrant) -> Option<Admitted<B>> {
        match (&mut self.phase, self.admission, entrant) {
            (Phase::Awake(running), Admission::Open, _)
            | (Phase::Awake(running), Admission::Draining, Entrant::Connected) => {
                let edge = running.begin(1, now);
                Some(Admitted {
                    epoch: self.epoch,
                    backend: running.backend.clone(),
                    edge,
                })
            }
            _ => None,
        }
    }

    /// A request of `bytes` arrives: it passes, waits, or is turned away. Only one that waits needs its `waiter`.
    pub(crate) fn enter(
        &mut self,
        now: Timestamp,
        limits: &Limits,
        (entrant, bytes): (Entrant, usize),
        waiter: impl FnOnce() -> W,
        out: &mut Actions<W, B>,
    ) -> Entry<B> {
        if let Some(entry) = self.admit(now, entrant) {
            return Entry::Admitted(entry);
        }
        if self.admission == Admission::Draining {
            return Entry::Refused(HoldError::Draining);
        }
        if let Err(why) = self.room_for(limits, bytes) {
            return Entry::Refused(why);
        }
        let id = self.queue.push(Held {
            waiter: waiter(),
            since: now,
            bytes,
        });
        if matches!(self.phase, Phase::Asleep) {
            self.wake(out);
        }
        Entry::Held {
            id,
            deadline: now.after(limits.hold_time),
        }
    }

    /// A waiter asks to hold `bytes` more; refused at the target's limit, or if it waits no longer.
    pub(crate) fn grow(&mut self, limits: &Limits, id: WaiterId, bytes: usize) -> bool {
        let fits = self.queue.bytes().saturating_add(bytes) <= limits.held_bytes_per_target;
        fits && self.queue.grow(id, bytes)
    }

    /// A waiter gives up. `None` if it had been released or refused before.
    pub(crate) fn leave(
        &mut self,
        now: Timestamp,
        id: WaiterId,
        out: &mut Actions<W, B>,
    ) -> Option<Duration> {
        let held = self.queue.remove(id)?;
        self.cancel_if_deserted(out);
        Some(now.since(held.since))
    }

    /// Refuses every waiter whose time is over.
    pub(crate) fn expire(&mut self, now: Timestamp, limits: &Limits, out: &mut Actions<W, B>) {
        while self.next_deadline(limits).is_some_and(|deadline| deadline <= now) {
            let Some(held) = self.queue.pop() else { break };
            let waited = now.since(held.since);
            out.push(Action::Refuse {
                waiter: held.waiter,
                why: HoldError::HoldTimeOver { waited },
                waited,
            });
        }
        self.cancel_if_deserted(out);
    }

    /// When [`Gate::expire`] has something to do next.
    pub(crate) fn next_deadline(&self, limits: &Limits) -> Option<Timestamp> {
        self.queue.front().map(|held| held.since.after(limits.hold_time))
    }

    /// The activation of `epoch` ended.
    pub(crate) fn activated(
        &mut self,
        now: Timestamp,
        epoch: Epoch,
        result: Result<B, ActivateError>,
        out: &mut Actions<W, B>,
    ) {
        match (&self.phase, result) {
            (Phase::Waking, Ok(backend)) if self.epoch == epoch => self.awake(now, backend, out),
            (Phase::Waking, Err(error)) if self.epoch == epoch => {
                self.phase = Phase::Asleep;
                self.refuse_waiters(now, &HoldError::WakeFailed(error), out);
            }
            (_, Ok(backend)) => out.push(Action::Unwanted { backend }),
            (_, Err(_)) => {}
        }
    }

    /// Starts parking if nothing goes on and nothing has since `quiet_for`.
    pub(crate) fn try_park(
        &mut self,
        now: Timestamp,
        quiet_for: Duration,
        last_activity: Timestamp,
    ) -> Result<Epoch, Busy> {
        let last_activity_age = now.since(last_activity);
        match &self.phase {
            Phase::Awake(running)
                if self.admission == Admission::Open
                    && running.exchanges == 0
                    && last_activity_age >= quiet_for =>
            {
                self.phase = Phase::Parking {
                    backend: running.backend.clone(),
                };
                Ok(self.epoch)
            }
            _ => Err(Busy {
                state: self.state(),
                exchanges: self.exchanges(),
                waiters: self.waiters(),
                last_activity_age,
            }),
        }
    }

    /// Parking succeeded: asleep, or waking again at once if somebody waits. False if parking was overtaken.
    pub(crate) fn parked(&mut self, epoch: Epoch, out: &mut Actions<W, B>) -> bool {
        let current = matches!(self.phase, Phase::Parking { .. }) && self.epoch == epoch;
        if current {
            self.sleep(out);
        }
        current
    }

    /// Parking was called off: awake as before. False if parking was overtaken.
    pub(crate) fn unpark(&mut self, now: Timestamp, epoch: Epoch, out: &mut Actions<W, B>) -> bool {
        let Phase::Parking { backend } = &self.phase else {
            return false;
        };
        if self.epoch != epoch {
            return false;
        }
        let backend = backend.clone();
        self.awake(now, backend, out);
        true
    }

    /// The backend is gone; false if there was none. An activation that runs is not touched: its backend is a new one.
    pub(crate) fn lost(&mut self, now: Timestamp, out: &mut Actions<W, B>) -> bool {
        match &self.phase {
            Phase::Asleep | Phase::Waking => return false,
            Phase::Awake(running) if running.exchanges > 0 => {
                let busy_for = now.since(running.busy_since);
                out.push(Action::Edge(Edge::Quiet { busy_for }));
            }
            Phase::Awake(_) | Phase::Parking { .. } => {}
        }
        self.sleep(out);
        true
    }

    /// From now on nobody enters; who waits keeps waiting.
    pub(crate) fn drain(&mut self) {
        self.admission = Admission::Draining;
    }

    /// The drain's deadline: nobody waits any longer.
    pub(crate) fn refuse_all(&mut self, now: Timestamp, out: &mut Actions<W, B>) {
        self.refuse_waiters(now, &HoldError::Draining, out);
        self.cancel_if_deserted(out);
    }

    fn room_for(&self, limits: &Limits, bytes: usize) -> Result<(), HoldError> {
        let (held, held_bytes) = (self.queue.len(), self.queue.bytes());
        if held >= limits.held_connections {
            return Err(HoldError::QueueFull {
                held,
                limit: limits.held_connections,
            });
        }
        if held_bytes.saturating_add(bytes) > limits.held_bytes_per_target {
            return Err(HoldError::BytesFull {
                scope: LimitScope::Target,
                wanted_bytes: bytes,
                held_bytes,
                limit_bytes: limits.held_bytes_per_target,
            });
        }
        Ok(())
    }

    fn wake(&mut self, out: &mut Actions<W, B>) {
        self.epoch = self.epoch.next();
        self.phase = Phase::Waking;
        out.push(Action::StartActivation { epoch: self.epoch });
    }

    fn sleep(&mut self, out: &mut Actions<W, B>) {
        self.phase = Phase::Asleep;
        if !self.queue.is_empty() {
            self.wake(out);
        }
    }

    fn awake(&mut self, now: Timestamp, backend: B, out: &mut Actions<W, B>) {
        let mut running = Running {
            backend,
            exchanges: 0,
            busy_since: now,
        };
        if !self.queue.is_empty() {
            out.push(Action::Edge(running.begin(self.queue.len(), now)));
        }
        while let Some(held) = self.queue.pop() {
            out.push(Action::Release {
                waiter: held.waiter,
                epoch: self.epoch,
                backend: running.backend.clone(),
                waited: now.since(held.since),
            });
        }
        self.phase = Phase::Awake(running);
    }

    fn refuse_waiters(&mut self, now: Timestamp, why: &HoldError, out: &mut Actions<W, B>) {
        while let Some(held) = self.queue.pop() {
            let waited = now.since(held.since);
            out.push(Action::Refuse {
                waiter: held.waiter,
                why: why.clone(),
                waited,
            });
        }
    }

    fn cancel_if_deserted(&mut self, out: &mut Actions<W, B>) {
        if matches!(self.phase, Phase::Waking) && self.queue.is_empty() {
            self.phase = Phase::Asleep;
            out.push(Action::CancelActivation { epoch: self.epoch });
        }
    }
}

impl<B> Running<B> {
    fn begin(&mut self, exchanges: usize, now: Timestamp) -> Edge {
        let was_quiet = self.exchanges == 0;
        self.exchanges += exchanges;
        if was_quiet {
            self.busy_since = now;
            return Edge::Busy;
        }
        Edge::Same
    }

    fn end(&mut self, now: Timestamp) -> Edge {
        self.exchanges = self.exchanges.saturating_sub(1);
        match self.exchanges {
            0 => Edge::Quiet {
                busy_for: now.since(self.busy_since),
            },
            _ => Edge::Same,
        }
    }
}
