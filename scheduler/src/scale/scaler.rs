#[cfg(test)]
mod tests;
mod tick;

use alloc::collections::BTreeMap;
use core::time::Duration;

use crate::ids::InstanceId;
use crate::scale::kpa::KpaState;
use crate::scale::step::Direction;
use crate::scale::target::TargetState;
use crate::scale::window::{Meter, Window};
use crate::scale::{CountBasis, Milli, ScaleMode};
use crate::time::Timestamp;

/// Computes how many instances of one service are to be awake, tick by tick, from what it was told in between.
#[derive(Debug)]
pub(crate) struct Scaler {
    /// Requests in the system; arrivals are counted here.
    load: Meter,
    /// Requests that wait.
    queue: Meter,
    instances: BTreeMap<InstanceId, Gauge>,
    window: Window,
    state: State,
    /// When the last tick was, or it began.
    ticked_at: Timestamp,
    count: Count,
    /// When the count changed last.
    changed_at: Option<Timestamp>,
}

/// A computed count and the numbers behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) desired: u32,
    pub(crate) basis: CountBasis,
}

/// What is measured on one instance.
#[derive(Debug)]
struct Gauge {
    in_flight: Meter,
    ready_at: Timestamp,
    cpu: Option<Milli>,
}

impl Gauge {
    fn new(now: Timestamp) -> Self {
        Self {
            in_flight: Meter::new(now, 0),
            ready_at: now,
            cpu: None,
        }
    }
}

#[derive(Debug)]
enum State {
    Steps(Option<Direction>),
    Target(TargetState),
    Kpa(KpaState),
    Staffing,
}

/// What is awake at a tick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Awake {
    /// Instances that serve.
    pub(crate) serving: u32,
    /// Instances that start.
    pub(crate) arriving: u32,
    /// Requests that an instance takes.
    pub(crate) slots: u32,
    /// What a wake costs: its time, times how dear waiting is.
    pub(crate) regret: Duration,
}

impl Awake {
    fn all(self) -> u32 {
        self.serving.saturating_add(self.arriving)
    }
}

impl Scaler {
    /// For a mode that computes a count.
    pub(crate) fn new(mode: &ScaleMode, now: Timestamp) -> Option<Self> {
        let state = match mode {
            ScaleMode::Requests => return None,
            ScaleMode::Steps(_) => State::Steps(None),
            ScaleMode::Target(_) => State::Target(TargetState::default()),
            ScaleMode::Kpa(_) => State::Kpa(KpaState::default()),
            ScaleMode::Staffing(_) => State::Staffing,
        };
        Some(Self {
            load: Meter::new(now, 0),
            queue: Meter::new(now, 0),
            instances: BTreeMap::new(),
            window: Window::default(),
            state,
            ticked_at: now,
            count: Count {
                desired: 0,
                basis: CountBasis::Initial,
            },
            changed_at: None,
        })
    }

    /// Whether it does what `mode` asks for, so that what it knows stays of use.
    pub(crate) fn fits(&self, mode: &ScaleMode) -> bool {
        matches!(
            (&self.state, mode),
            (State::Steps(_), ScaleMode::Steps(_))
                | (State::Target(_), ScaleMode::Target(_))
                | (State::Kpa(_), ScaleMode::Kpa(_))
                | (State::Staffing, ScaleMode::Staffing(_))
        )
    }

    pub(crate) fn count(&self) -> Count {
        self.count
    }

    /// There are so many requests, of which so many wait.
    pub(crate) fn loaded(&mut self, now: Timestamp, in_system: u64, waiting: u32) {
        self.load.set(now, in_system);
        self.queue.set(now, u64::from(waiting));
    }

    pub(crate) fn request_arrived(&mut self) {
        self.load.arrived();
    }

    /// An instance begins to serve; its warm-up counts from here.
    pub(crate) fn instance_ready(&mut self, now: Timestamp, id: InstanceId) {
        self.instances.insert(id, Gauge::new(now));
    }

    /// These instances serve, with so many requests in flight each: what was missed is put right.
    pub(crate) fn sync(&mut self, now: Timestamp, serving: impl Iterator<Item = (InstanceId, u32)>) {
        let mut known = core::mem::take(&mut self.instances);
        for (id, in_flight) in serving {
            let mut gauge = known.remove(&id).unwrap_or_else(|| Gauge::new(now));
            gauge.in_flight.set(now, u64::from(in_flight));
            self.instances.insert(id, gauge);
        }
    }

    /// An instance has so many requests in flight.
    pub(crate) fn instance_loaded(&mut self, now: Timestamp, id: InstanceId, in_flight: u32) {
        if let Some(gauge) = self.instances.get_mut(&id) {
            gauge.in_flight.set(now, u64::from(in_flight));
        }
    }

    pub(crate) fn request_admitted(&mut self, id: InstanceId) {
        if let Some(gauge) = self.instances.get_mut(&id) {
            gauge.in_flight.arrived();
        }
    }

    pub(crate) fn usage(&mut self, id: InstanceId, cpu: Milli) {
        if let Some(gauge) = self.instances.get_mut(&id) {
            gauge.cpu = Some(cpu);
        }
    }

    /// The service fell asleep: what comes next has nothing to do with what was.
    pub(crate) fn fell_asleep(&mut self) {
        self.window.clear();
        self.instances = BTreeMap::new();
        self.changed_at = None;
        self.state = match self.state {
            State::Steps(_) => State::Steps(None),
            State::Target(_) => State::Target(TargetState::default()),
            State::Kpa(_) => State::Kpa(KpaState::default()),
            State::Staffing => State::Staffing,
        };
    }

    /// The service wakes, or was found awake with `serving` instances: time before that is not measured. The count is
    /// at least `desired` for a start.
    pub(crate) fn woke(&mut self, now: Timestamp, serving: u32, desired: u32) {
        self.ticked_at = now;
        self.load.take(now);
        self.queue.take(now);
        self.count.desired = self.count.desired.max(desired);
        if let State::Kpa(state) = &mut self.state {
            *state = KpaState::begin(now, serving);
        }
    }
}
