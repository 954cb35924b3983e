//! Event orders of the gate against a model that is too simple to be fast.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;

use super::{Action, Actions, Edge, Entrant, Entry, Gate, TargetState, WaiterId};
use crate::{ActivateError, Epoch, HoldError, Limits, time::Timestamp};

const HOLD_MS: u64 = 10;

fn limits() -> Limits {
    Limits {
        held_connections: 4,
        held_bytes_per_connection: 8,
        held_bytes_per_target: 20,
        hold_time: Duration::from_millis(HOLD_MS),
        ..Limits::default()
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Enter(Entrant, usize),
    Leave(usize),
    Grow(usize, usize),
    Expire,
    /// An activation ends: the outstanding one, or one of the past.
    Activated {
        ok: bool,
        stale: bool,
    },
    Begin,
    End(usize),
    TryPark(u64),
    Parked,
    Unpark,
    Lost,
    Drain,
    RefuseAll,
    Advance(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let entrant = prop_oneof![3 => Just(Entrant::Fresh), 1 => Just(Entrant::Connected)];
    let activated = (prop::bool::weighted(0.7), prop::bool::weighted(0.2));
    prop_oneof![
        80 => (entrant, 0..9_usize).prop_map(|(entrant, bytes)| Op::Enter(entrant, bytes)),
        40 => (0..5_usize).prop_map(Op::Leave),
        20 => (0..5_usize, 1..9_usize).prop_map(|(nth, bytes)| Op::Grow(nth, bytes)),
        20 => Just(Op::Expire),
        50 => activated.prop_map(|(ok, stale)| Op::Activated { ok, stale }),
        30 => Just(Op::Begin),
        60 => (0..5_usize).prop_map(Op::End),
        40 => (0..4_u64).prop_map(Op::TryPark),
        30 => Just(Op::Parked),
        20 => Just(Op::Unpark),
        10 => Just(Op::Lost),
        1 => Just(Op::Drain),
        2 => Just(Op::RefuseAll),
        40 => (0..6_u64).prop_map(Op::Advance),
    ]
}

/// Everything that a step may bring about, in comparable form. Waiters have numbers, times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Out {
    Admitted(u64),
    Held,
    Refused(&'static str),
    Left(Option<u64>),
    Grown(bool),
    Begun(Option<u64>),
    Parking(Result<u64, (TargetState, usize, usize)>),
    Done(bool),
    Start(u64),
    Cancel(u64),
    Release(u64, u64),
    Refuse(u64, &'static str),
    Unwanted,
    Busy,
    Quiet(u64),
}

fn why(error: &HoldError) -> &'static str {
    match error {
        HoldError::QueueFull { .. } => "queue",
        HoldError::BytesFull { .. } => "bytes",
        HoldError::HoldTimeOver { .. } => "time",
        HoldError::WakeFailed(_) => "wake",
        HoldError::Draining => "drain",
        _ => "never said by the gate",
    }
}

fn edge(edge: Edge) -> Option<Out> {
    match edge {
        Edge::Busy => Some(Out::Busy),
        Edge::Quiet { busy_for } => Some(Out::Quiet(millis(busy_for))),
        Edge::Same => None,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asleep,
    Waking,
    Awake,
    Parking,
}

/// The naive gate: a vector of waiters and a list of open exchanges.
#[derive(Debug)]
struct Model {
    now: u64,
    last_activity: u64,
    phase: Phase,
    draining: bool,
    epoch: u64,
    /// Number, since, bytes.
    waiting: Vec<(u64, u64, usize)>,
    next_waiter: u64,
    /// The epoch of each exchange that a session believes to have.
    exchanges: Vec<u64>,
    busy_since: u64,
    permit: Option<u64>,
    out: Vec<Out>,
}

impl Model {
    fn new() -> Self {
        Self {
            now: 0,
            last_activity: 0,
            phase: Phase::Asleep,
            draining: false,
            epoch: 0,
            waiting: Vec::new(),
            next_waiter: 0,
            exchanges: Vec::new(),
            busy_since: 0,
            permit: None,
            out: Vec::new(),
        }
    }

    fn live(&self) -> usize {
        let alive = self.phase == Phase::Awake;
        self.exchanges
            .iter()
            .filter(|epoch| alive && **epoch == self.epoch)
            .count()
    }

    fn state(&self) -> TargetState {
        match self.phase {
            _ if self.draining => TargetState::Draining,
            Phase::Asleep => TargetState::Asleep,
            Phase::Waking => TargetState::Waking,
            Phase::Awake => TargetState::Awake,
            Phase::Parking => TargetState::Parking,
        }
    }

    fn bytes(&self) -> usize {
        self.waiting.iter().map(|(_, _, bytes)| bytes).sum()
    }

    fn begin(&mut self, count: usize) {
        if self.live() == 0 && count > 0 {
            self.busy_since = self.now;
            self.out.push(Out::Busy);
        }
        self.exchanges.extend(vec![self.epoch; count]);
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Enter(entrant, bytes) => self.enter(entrant, bytes),
            Op::Leave(nth) => {
                if nth < self.waiting.len() {
                    let (_, since, _) = self.waiting.remove(nth);
                    self.out.push(Out::Left(Some(self.now - since)));
                    self.cancel_if_deserted();
                }
            }
            Op::Grow(nth, bytes) => {
                let fits = self.bytes() + bytes <= 20;
                if let Some(waiting) = self.waiting.get_mut(nth) {
                    waiting.2 += if fits { bytes } else { 0 };
                    self.out.push(Out::Grown(fits));
                }
            }
            Op::Expire => {
                while self
                    .waiting
                    .first()
                    .is_some_and(|(_, since, _)| since + HOLD_MS <= self.now)
                {
                    let (waiter, ..) = self.waiting.remove(0);
                    self.out.push(Out::Refuse(waiter, "time"));
                }
                self.cancel_if_deserted();
            }
            Op::Activated { ok, stale: false } if self.phase == Phase::Waking => match ok {
                true => self.awake(),
                false => {
                    self.phase = Phase::Asleep;
                    self.refuse_all("wake");
                }
            },
            Op::Activated { ok, .. } => self.out.extend(ok.then_some(Out::Unwanted)),
            Op::Begin => {
                let awake = self.phase == Phase::Awake;
                self.out.push(Out::Begun(awake.then_some(self.epoch)));
                self.begin(usize::from(awake));
            }
            Op::End(nth) => {
                if nth < self.exchanges.len() {
                    let was_live = self.live();
                    self.exchanges.remove(nth);
                    self.last_activity = self.now;
                    if was_live == 1 && self.live() == 0 {
                        self.out.push(Out::Quiet(self.now - self.busy_since));
                    }
                }
            }
            Op::TryPark(quiet) => {
                let (live, age) = (self.live(), self.now - self.last_activity);
                let free = self.phase == Phase::Awake && !self.draining && live == 0 && age >= quiet;
                self.out.push(Out::Parking(match free {
                    true => Ok(self.epoch),
                    false => Err((self.state(), live, self.waiting.len())),
                }));
                if free {
                    self.permit = Some(self.epoch);
                    self.phase = Phase::Parking;
                }
            }
            Op::Parked => self.decide(Model::asleep),
            Op::Unpark => self.decide(Model::awake),
            Op::Lost => {
                if self.live() > 0 {
                    self.out.push(Out::Quiet(self.now - self.busy_since));
                }
                let had_backend = matches!(self.phase, Phase::Awake | Phase::Parking);
                self.out.push(Out::Done(had_backend));
                if had_backend {
                    self.asleep();
                }
            }
            Op::Drain => self.draining = true,
            Op::RefuseAll => {
                self.refuse_all("drain");
                self.cancel_if_deserted();
            }
            Op::Advance(ms) => self.now += ms,
        }
    }

    fn enter(&mut self, entrant: Entrant, bytes: usize) {
        if self.phase == Phase::Awake && (!self.draining || entrant == Entrant::Connected) {
            self.out.push(Out::Admitted(self.epoch));
            self.begin(1);
        } else if self.draining {
            self.out.push(Out::Refused("drain"));
        } else if self.waiting.len() >= 4 {
            self.out.push(Out::Refused("queue"));
        } else if self.bytes() + bytes > 20 {
            self.out.push(Out::Refused("bytes"));
        } else {
            self.out.push(Out::Held);
            self.waiting.push((self.next_waiter, self.now, bytes));
            self.next_waiter += 1;
            if self.phase == Phase::Asleep {
                self.wake();
            }
        }
    }

    fn decide(&mut self, how: impl FnOnce(&mut Model)) {
        if let Some(epoch) = self.permit.take() {
            let current = self.phase == Phase::Parking && self.epoch == epoch;
            self.out.push(Out::Done(current));
            if current {
                how(self);
            }
        }
    }

    fn wake(&mut self) {
        self.epoch += 1;
        self.phase = Phase::Waking;
        self.out.push(Out::Start(self.epoch));
    }

    fn asleep(&mut self) {
        self.phase = Phase::Asleep;
        if !self.waiting.is_empty() {
            self.wake();
        }
    }

    fn awake(&mut self) {
        self.phase = Phase::Awake;
        self.begin(self.waiting.len());
        for (waiter, ..) in std::mem::take(&mut self.waiting) {
            self.out.push(Out::Release(waiter, self.epoch));
        }
    }

    fn refuse_all(&mut self, why: &'static str) {
        for (waiter, ..) in std::mem::take(&mut self.waiting) {
            self.out.push(Out::Refuse(waiter, why));
        }
    }

    fn cancel_if_deserted(&mut self) {
        if self.phase == Phase::Waking && self.waiting.is_empty() {
            self.phase = Phase::Asleep;
            self.out.push(Out::Cancel(self.epoch));
        }
    }
}

/// The gate, driven by the same operations.
struct Driven {
    gate: Gate<u64, ()>,
    now: u64,
    last_activity: u64,
    ids: Vec<(u64, WaiterId)>,
    next_waiter: u64,
    epochs: Vec<Epoch>,
    exchanges: Vec<Epoch>,
    permit: Option<Epoch>,
    out: Vec<Out>,
}

impl Driven {
    fn step(&mut self, op: Op) {
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
                self.permit = permit.ok().or(self.permit);
                self.out.push(Out::Parking(match permit {
                    Ok(epoch) => Ok(epoch.get()),
                    Err(busy) => Err((busy.state, busy.exchanges, busy.waiters)),
                }));
            }
            Op::Parked => {
                if let Some(epoch) = self.permit.take() {
                    self.out.push(Out::Done(self.gate.parked(epoch, &mut actions)));
                }
            }
            Op::Unpark => {
                if let Some(epoch) = self.permit.take() {
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

/// What must hold whatever the model says.
#[derive(Default)]
struct Promises {
    outstanding: Option<u64>,
    resolved: BTreeSet<u64>,
    last_released: Option<u64>,
}

impl Promises {
    fn check(&mut self, op: Op, out: &[Out], gate: &Gate<u64, ()>, waiting: usize) {
        if matches!(op, Op::Activated { stale: false, .. }) {
            self.outstanding = None;
        }
        for event in out {
            match event {
                Out::Start(epoch) => assert_eq!(self.outstanding.replace(*epoch), None, "two activations"),
                Out::Cancel(epoch) => assert_eq!(self.outstanding.take(), Some(*epoch)),
                Out::Release(waiter, _) => {
                    assert!(self.resolved.insert(*waiter), "resolved twice");
                    assert!(
                        self.last_released.replace(*waiter) < Some(*waiter),
                        "overtaken in the queue"
                    );
                    assert!(
                        !matches!(op, Op::TryPark(_) | Op::Parked | Op::Enter(..)),
                        "released by {op:?}"
                    );
                }
                Out::Refuse(waiter, _) => assert!(self.resolved.insert(*waiter), "resolved twice"),
                _ => {}
            }
        }
        assert_eq!(gate.is_waking(), self.outstanding.is_some());
        assert_eq!(gate.waiters(), waiting);
        assert!(
            gate.waiters() <= 4 && gate.held_bytes() <= 20,
            "a bound was exceeded"
        );
        assert!(!gate.is_waking() || gate.waiters() > 0, "waking for nobody");
        assert_eq!(gate.next_deadline(&limits()).is_some(), gate.waiters() > 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_order_of_events_does_what_the_model_does(ops in prop::collection::vec(op(), 1..120)) {
        let mut model = Model::new();
        let mut promises = Promises::default();
        let mut driven = Driven {
            gate: Gate::new(),
            now: 0,
            last_activity: 0,
            ids: Vec::new(),
            next_waiter: 0,
            epochs: Vec::new(),
            exchanges: Vec::new(),
            permit: None,
            out: Vec::new(),
        };
        for op in ops {
            model.step(op);
            driven.step(op);
            prop_assert_eq!(&driven.out, &model.out, "after {:?}", op);
            promises.check(op, &driven.out, &driven.gate, model.waiting.len());
            prop_assert_eq!(driven.gate.state(), model.state());
            prop_assert_eq!(driven.gate.exchanges(), model.live());
            prop_assert_eq!(driven.gate.held_bytes(), model.bytes());
            driven.out.clear();
            model.out.clear();
        }
    }
}

#[test]
fn a_gate_asleep_is_small() {
    assert!(size_of::<Gate<tokio::sync::oneshot::Sender<()>, std::sync::Arc<()>>>() <= 160);
}
