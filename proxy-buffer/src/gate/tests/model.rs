//! The naive gate.

use super::{HOLD_MS, Op, Out};
use crate::{TargetState, gate::Entrant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asleep,
    Waking,
    Awake,
    Parking,
}

/// The naive gate: a vector of waiters and a list of open exchanges.
#[derive(Debug)]
pub(super) struct Model {
    now: u64,
    last_activity: u64,
    phase: Phase,
    draining: bool,
    epoch: u64,
    /// Number, since, bytes.
    pub(super) waiting: Vec<(u64, u64, usize)>,
    next_waiter: u64,
    /// The epoch of each exchange that a session believes to have.
    exchanges: Vec<u64>,
    busy_since: u64,
    /// Given out and not used yet; those of a backend that was lost have no effect.
    permits: Vec<u64>,
    pub(super) out: Vec<Out>,
}

impl Model {
    pub(super) fn new() -> Self {
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
            permits: Vec::new(),
            out: Vec::new(),
        }
    }

    pub(super) fn live(&self) -> usize {
        let alive = self.phase == Phase::Awake;
        self.exchanges
            .iter()
            .filter(|epoch| alive && **epoch == self.epoch)
            .count()
    }

    pub(super) fn state(&self) -> TargetState {
        match self.phase {
            _ if self.draining => TargetState::Draining,
            Phase::Asleep => TargetState::Asleep,
            Phase::Waking => TargetState::Waking,
            Phase::Awake => TargetState::Awake,
            Phase::Parking => TargetState::Parking,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.waiting.iter().map(|(_, _, bytes)| bytes).sum()
    }

    fn begin(&mut self, count: usize) {
        if self.live() == 0 && count > 0 {
            self.busy_since = self.now;
            self.out.push(Out::Busy);
        }
        self.exchanges.extend(vec![self.epoch; count]);
    }

    pub(super) fn step(&mut self, op: Op) {
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
                    self.permits.push(self.epoch);
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
        if !self.permits.is_empty() {
            let epoch = self.permits.remove(0);
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
