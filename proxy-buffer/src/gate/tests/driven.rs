//! The real gate under the same operations.

use std::time::Duration;

use super::{HOLD_MS, Op, Out, edge, limits, millis, why};
use crate::{
    ActivateError, Epoch,
    gate::{Action, Actions, Entry, Gate, WaiterId},
    time::Timestamp,
};

/// The gate, driven by the same operations.
pub(super) struct Driven {
    pub(super) gate: Gate<u64, ()>,
    now: u64,
    last_activity: u64,
    ids: Vec<(u64, WaiterId)>,
    next_waiter: u64,
    epochs: Vec<Epoch>,
    exchanges: Vec<Epoch>,
    permits: Vec<Epoch>,
    pub(super) out: Vec<Out>,
}

impl Driven {
    pub(super) fn new() -> Self {
        Self {
            gate: Gate::new(),
            now: 0,
            last_activity: 0,
            ids: Vec::new(),
            next_waiter: 0,
            epochs: Vec::new(),
            exchanges: Vec::new(),
            permits: Vec::new(),
            out: Vec::new(),
        }
    }

    pub(super) fn step(&mut self, op: Op) {
        let now = Timestamp::from_nanos(self.now * 1_000_000);
        let limits = limits();
        let mut actions = Actions::new();
        match op {
            Op::Enter(entrant, bytes) => {
                let waiter = self.next_waiter;
                let mut made = false;
                let make = || {
                    made = true;
                    waiter
                };
                match self
                    .gate
                    .enter(now, &limits, (entrant, bytes), make, &mut actions)
                {
                    Entry::Admitted(admitted) => {
                        self.out.push(Out::Admitted(admitted.epoch.get()));
                        self.out.extend(edge(admitted.edge));
                        self.exchanges.push(admitted.epoch);
                    }
                    Entry::Held { id, deadline } => {
                        assert_eq!(deadline, Timestamp::from_nanos((self.now + HOLD_MS) * 1_000_000));
                        self.out.push(Out::Held);
                        self.ids.push((waiter, id));
                        self.next_waiter += 1;
                    }
                    Entry::Refused(error) => self.out.push(Out::Refused(why(&error))),
                }
                assert_eq!(made, self.ids.last().is_some_and(|(last, _)| *last == waiter));
            }
            Op::Leave(nth) => {
                if nth < self.ids.len() {
                    let (_, id) = self.ids.remove(nth);
                    self.out
                        .push(Out::Left(self.gate.leave(now, id, &mut actions).map(millis)));
                    assert_eq!(self.gate.leave(now, id, &mut Actions::new()), None, "left twice");
                }
            }
            Op::Grow(nth, bytes) => {
                if let Some((_, id)) = self.ids.get(nth) {
                    self.out.push(Out::Grown(self.gate.grow(&limits, *id, bytes)));
                }
            }
            Op::Expire => self.gate.expire(now, &limits, &mut actions),
            Op::Activated { ok, stale } => {
                let result = ok.then_some(()).ok_or_else(|| ActivateError::new("no"));
                let past = self.epochs.len().saturating_sub(if stale { 2 } else { 1 });
                let epoch = self
                    .epochs
                    .get(past)
                    .copied()
                    .filter(|epoch| !stale || *epoch != self.gate.epoch());
                self.gate
                    .activated(now, epoch.unwrap_or(Epoch::NONE), result, &mut actions);
            }
            Op::Begin => {
                let begun = self.gate.begin(now);
                self.out.push(Out::Begun(begun.map(|(epoch, _)| epoch.get())));
                if let Some((epoch, went)) = begun {
                    self.out.extend(edge(went));
                    self.exchanges.push(epoch);
                }
            }
            Op::End(nth) => {
                if nth < self.exchanges.len() {
                    let epoch = self.exchanges.remove(nth);
                    self.last_activity = self.now;
                    self.out.extend(edge(self.gate.end(now, epoch)));
                }
            }
            Op::TryPark(quiet) => {
                let last_activity = Timestamp::from_nanos(self.last_activity * 1_000_000);
                let permit = self
                    .gate
                    .try_park(now, Duration::from_millis(quiet), last_activity);
                self.permits.extend(permit.ok());
                self.out.push(Out::Parking(match permit {
                    Ok(epoch) => Ok(epoch.get()),
                    Err(busy) => Err((busy.state, busy.exchanges, busy.waiters)),
                }));
            }
            Op::Parked => {
                if !self.permits.is_empty() {
                    let epoch = self.permits.remove(0);
                    self.out.push(Out::Done(self.gate.parked(epoch, &mut actions)));
                }
            }
            Op::Unpark => {
                if !self.permits.is_empty() {
                    let epoch = self.permits.remove(0);
                    self.out
                        .push(Out::Done(self.gate.unpark(now, epoch, &mut actions)));
                }
            }
            Op::Lost => {
                let had_backend = self.gate.lost(now, &mut actions);
                let quiet = matches!(actions.first(), Some(Action::Edge(_))).then(|| actions.remove(0));
                self.perform(quiet.into_iter().collect());
                self.out.push(Out::Done(had_backend));
            }
            Op::Drain => self.gate.drain(),
            Op::RefuseAll => self.gate.refuse_all(now, &mut actions),
            Op::Advance(ms) => self.now += ms,
        }
        self.perform(actions);
    }

    fn perform(&mut self, actions: Actions<u64, ()>) {
        for action in actions {
            let out = match action {
                Action::StartActivation { epoch } => {
                    self.epochs.push(epoch);
                    Out::Start(epoch.get())
                }
                Action::CancelActivation { epoch } => Out::Cancel(epoch.get()),
                Action::Release { waiter, epoch, .. } => {
                    self.exchanges.push(epoch);
                    self.ids.retain(|(other, _)| *other != waiter);
                    Out::Release(waiter, epoch.get())
                }
                Action::Refuse {
                    waiter, why: error, ..
                } => {
                    self.ids.retain(|(other, _)| *other != waiter);
                    Out::Refuse(waiter, why(&error))
                }
                Action::Unwanted { .. } => Out::Unwanted,
                Action::Edge(went) => edge(went).expect("the gate only reports changes"),
            };
            self.out.push(out);
        }
    }
}
