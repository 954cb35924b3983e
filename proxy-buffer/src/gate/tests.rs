//! Event orders of the gate against a model that is too simple to be fast.

mod driven;
mod model;

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;

use self::{driven::Driven, model::Model};
use super::{Edge, Entrant, Gate, TargetState};
use crate::{HoldError, Limits};

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
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_order_of_events_does_what_the_model_does(ops in prop::collection::vec(op(), 1..120)) {
        let mut model = Model::new();
        let mut promises = Promises::default();
        let mut driven = Driven::new();
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

/// Rare in random orders: a permit that outlives its backend, while the next one is being parked.
#[test]
fn an_overtaken_permit_neither_parks_nor_wakes_the_next_backend() {
    for overtaken in [Op::Parked, Op::Unpark] {
        let mut driven = Driven::new();
        let awake = [
            Op::Enter(Entrant::Fresh, 1),
            Op::Activated {
                ok: true,
                stale: false,
            },
            Op::End(0),
            Op::TryPark(0),
        ];
        awake
            .into_iter()
            .chain([Op::Lost])
            .chain(awake)
            .for_each(|op| driven.step(op));
        assert_eq!(driven.gate.state(), TargetState::Parking);
        driven.step(overtaken);
        assert_eq!(driven.gate.state(), TargetState::Parking);
        assert_eq!(driven.out.last(), Some(&Out::Done(false)));
        driven.step(Op::Parked);
        assert_eq!(driven.gate.state(), TargetState::Asleep);
    }
}

#[test]
fn a_gate_asleep_is_small() {
    assert!(size_of::<Gate<tokio::sync::oneshot::Sender<()>, std::sync::Arc<()>>>() <= 160);
}
