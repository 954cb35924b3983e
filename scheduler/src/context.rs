use alloc::vec::Vec;
use core::time::Duration;

use crate::action::{Action, Command};
use crate::ids::{ActionId, InstanceId, ServiceId};
use crate::limits::{Gate, LimitsConfig, Pace};
use crate::log::{Decision, Log};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::time::Timestamp;
use crate::timers::{TimerKey, Timers};

/// Times that were told and cannot be right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClockFaults {
    /// Times earlier than one told before. Each counted as the latest one.
    pub backward: u64,
    /// Times that the owner stood still: something had been due for longer than [`LimitsConfig::stall`].
    pub stalls: u64,
}

/// The greatest id of an instance that is taken over: as many as there are up to it are left for new ones.
const MOST_ADOPTED: u64 = u64::MAX / 2;

/// What all services share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) now: Timestamp,
    pub(crate) timers: Timers,
    pub(crate) log: Log,
    pub(crate) gate: Gate,
    pub(crate) ignored: u64,
    pub(crate) clock_faults: ClockFaults,
    stall: Duration,
    /// When the owner last went on after it had stood still.
    pub(crate) resumed_at: Timestamp,
    last_action: u64,
    first_instance: u64,
    next_instance: u64,
}

impl Shared {
    pub(crate) fn new(first_instance: InstanceId, log: Log, limits: &LimitsConfig) -> Self {
        Self {
            now: Timestamp::ZERO,
            timers: Timers::default(),
            log,
            gate: Gate::new(limits),
            ignored: 0,
            clock_faults: ClockFaults::default(),
            stall: limits.stall,
            resumed_at: Timestamp::ZERO,
            last_action: 0,
            first_instance: first_instance.0,
            next_instance: first_instance.0,
        }
    }

    /// Time goes on to `now`, never back. Says whether the owner is found to have stood still until now.
    pub(crate) fn pass(&mut self, now: Timestamp) -> bool {
        if now < self.now {
            let faults = &mut self.clock_faults;
            faults.backward = faults.backward.saturating_add(1);
        }
        self.now = self.now.max(now).min(Timestamp::LAST);
        let resumes = self.overdue().is_some_and(|due| due >= self.resumed_at);
        if resumes {
            self.resumed_at = self.now;
            let faults = &mut self.clock_faults;
            faults.stalls = faults.stalls.saturating_add(1);
        }
        resumes
    }

    /// What was due so long ago that the owner must have stood still.
    fn overdue(&self) -> Option<Timestamp> {
        let due = self.timers.next()?;
        (self.now.saturating_since(due) > self.stall).then_some(due)
    }

    /// How the owner comes to what is due now.
    pub(crate) fn pace(&self) -> Pace {
        match self.overdue() {
            None => Pace::KeepsUp,
            Some(_) => Pace::CatchesUp,
        }
    }

    /// Looks again at who waits when the next token is there.
    pub(crate) fn set_alarm(&mut self) {
        let at = self.gate.next_alarm();
        self.timers.set(TimerKey::Gate, &mut self.gate.alarm, at);
    }

    fn next_action(&mut self) -> ActionId {
        self.last_action = self.last_action.saturating_add(1);
        ActionId(self.last_action)
    }

    pub(crate) fn next_instance(&mut self) -> InstanceId {
        let id = self.next_instance;
        self.next_instance = id.saturating_add(1);
        InstanceId(id)
    }

    /// Whether this scheduler named the instance, so that one it does not know must have ended.
    pub(crate) fn named(&self, instance: InstanceId) -> bool {
        (self.first_instance..self.next_instance).contains(&instance.0)
    }

    /// Never gives out the id of an instance that somebody else named. Says whether there are ids left after it.
    pub(crate) fn adopt(&mut self, instance: InstanceId) -> bool {
        let is_named = instance.0 <= MOST_ADOPTED;
        if is_named {
            self.next_instance = self.next_instance.max(instance.0 + 1);
        }
        is_named
    }
}

/// What one event may touch besides its service.
pub(crate) struct Cx<'a> {
    pub(crate) shared: &'a mut Shared,
    pub(crate) policy: &'a mut dyn Policy,
    pub(crate) out: &'a mut Vec<Action>,
}

impl Cx<'_> {
    pub(crate) fn now(&self) -> Timestamp {
        self.shared.now
    }

    /// Numbers a decision, hands it out and logs it. Admissions are not logged: they would drown the rest.
    pub(crate) fn decide(&mut self, service: ServiceId, command: Command, reason: Reason) -> Decision {
        let action = Action {
            id: self.shared.next_action(),
            service,
            command,
            reason,
        };
        let decision = Decision {
            at: self.shared.now,
            action,
        };
        self.out.push(action);
        if !matches!(command, Command::Admit { .. }) {
            self.shared.log.push(decision);
        }
        decision
    }

    /// Counts an event that fits nothing: a duplicate, or one overtaken by newer ones.
    pub(crate) fn ignore(&mut self) {
        self.shared.ignored = self.shared.ignored.saturating_add(1);
    }
}
