mod configure;
mod connections;
mod descent;
mod dispatch;
mod evicting;
mod explain;
mod failure;
mod instances;
mod invariants;
mod memory;
mod observing;
mod parking;
mod prewake;
mod reconcile;
mod requests;
mod scaling;
mod troubles;
mod waiting;
mod why_not;

use alloc::boxed::Box;

use crate::action::Command;
use crate::config::ValidConfig;
use crate::context::Cx;
use crate::event::Event;
use crate::explain::Counters;
use crate::fleet::Fleet;
use crate::ids::{ActionId, InstanceId, NodeId, ServiceId};
use crate::instance::Activity;
use crate::limits::Lacking;
use crate::log::Decision;
use crate::reason::Reason;
use crate::registry::Slot;
use crate::requests::Requests;
use crate::service::prewake::Expected;
use crate::service::scaling::Scale;
use crate::service::troubles::Troubles;
use crate::service::waiting::InLine;
use crate::timers::{Timer, TimerKey};

/// Whether a service takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Offered,
    /// Ends with its last instance.
    Removed,
}

/// The state machine of one service. Its transitions are in the submodules, by what they are about.
#[derive(Debug)]
pub(crate) struct Service {
    id: ServiceId,
    /// Where it is, for its timers.
    slot: Slot,
    config: ValidConfig,
    standing: Standing,
    fleet: Fleet,
    requests: Requests,
    /// Failed starts and deaths since something last worked.
    failures: u32,
    /// No start before; the slot of its timer.
    backoff: Option<Timer>,
    /// Ways to start that failed lately; `None` while there are none.
    troubles: Option<Box<Troubles>>,
    /// Of `min_instances`, those that ended and are not replaced.
    forgone: u32,
    /// Starts that have to wait for a limit; `None` while there are none.
    line: Option<Box<InLine>>,
    /// Where an instance ran last.
    near: Option<NodeId>,
    /// Instances that are to be awake always and are not; `None` while there are none.
    lacking: Option<Box<Lacking>>,
    /// When the first in the queue has waited long enough; the slot of its timer.
    wait: Option<Timer>,
    /// Instances needed, as the policy was last told.
    level: u32,
    /// Who is expected.
    expected: Option<Box<Expected>>,
    /// What is remembered for scaling beyond what requests need; `None` where nothing is.
    scale: Option<Box<Scale>>,
    counters: Counters,
    /// The last lifecycle command.
    last: Option<Decision>,
}

impl Service {
    pub(crate) fn new(id: ServiceId, slot: Slot, config: ValidConfig) -> Self {
        let scale = Scale::initial(config.scale.initial_instances);
        Self {
            id,
            slot,
            fleet: Fleet::new(config.slots()),
            config,
            standing: Standing::Offered,
            requests: Requests::default(),
            failures: 0,
            backoff: None,
            troubles: None,
            forgone: 0,
            line: None,
            near: None,
            lacking: None,
            wait: None,
            level: 0,
            expected: None,
            scale: Some(Box::new(scale)),
            counters: Counters::default(),
            last: None,
        }
    }

    /// Takes in what happened; says whether nothing is left of the service.
    pub(crate) fn on_event(&mut self, cx: &mut Cx<'_>, event: Event) -> bool {
        match event {
            Event::ServiceConfigured { config, .. } => self.configure(cx, config),
            Event::ServiceAdopted { config, inventory } => self.adopt_service(cx, config, &inventory),
            Event::ServiceRemoved { .. } => self.remove(cx),
            Event::RequestQueued { request, .. } => self.request_queued(cx, request),
            Event::RequestDone { request, .. } => self.request_done(cx, request),
            Event::ConnectionActive {
                instance, connection, ..
            } => {
                self.connection_is(cx, instance, connection, Activity::Active);
            }
            Event::ConnectionQuiet {
                instance, connection, ..
            } => {
                self.connection_is(cx, instance, connection, Activity::Quiet);
            }
            Event::ConnectionClosed {
                instance, connection, ..
            } => self.connection_closed(cx, instance, connection),
            Event::InstanceReady { instance, epoch, .. } => self.instance_ready(cx, instance, epoch),
            Event::InstanceFailed { instance, epoch, .. } => self.instance_failed(cx, instance, epoch),
            Event::InstanceParked {
                instance,
                epoch,
                written_bytes,
                ..
            } => self.instance_parked(cx, instance, epoch, written_bytes),
            Event::ParkRefused {
                instance,
                epoch,
                last_activity,
                ..
            } => {
                self.park_refused(cx, instance, epoch, last_activity);
            }
            Event::InstanceExited { instance, epoch, .. } => self.instance_exited(cx, instance, epoch),
            Event::InstanceFinished { instance, epoch, .. } => self.instance_finished(cx, instance, epoch),
            Event::Usage { instance, cpu, .. } => self.usage(cx, instance, cpu),
            Event::InstanceMemory {
                instance,
                resident_bytes,
                dirty_bytes,
                ..
            } => self.measured(cx, instance, resident_bytes, dirty_bytes),
            Event::Inventory(inventory) => self.reconcile(cx, &inventory),
            Event::NodeUp { .. }
            | Event::NodeDown { .. }
            | Event::NodeCapacity { .. }
            | Event::MemoryPressure { .. }
            | Event::TenantConfigured { .. }
            | Event::TenantRemoved { .. }
            | Event::Tick => {}
        }
        self.finish(cx)
    }

    /// Does what is due; says whether nothing is left of the service.
    pub(crate) fn on_timer(&mut self, cx: &mut Cx<'_>, key: TimerKey) -> bool {
        match key {
            TimerKey::Instance(.., instance) => self.instance_timer(cx, instance),
            TimerKey::Backoff(..) => self.backoff_ended(cx),
            TimerKey::Prewake(..) => self.prewake_due(cx),
            TimerKey::Scale(..) => self.scale_tick(cx),
            TimerKey::Wait(..) => self.wait_ended(cx),
            TimerKey::Gate => {}
        }
        self.finish(cx)
    }

    /// Ends what any event began; says whether nothing is left of the service.
    pub(crate) fn finish(&mut self, cx: &mut Cx<'_>) -> bool {
        self.observe_level(cx);
        self.observe_load(cx);
        self.reserve_min(cx);
        self.stay_in_line(cx);
        self.is_gone(cx)
    }

    /// A removed service ends with its last instance, and its last timer with it.
    fn is_gone(&mut self, cx: &mut Cx<'_>) -> bool {
        let gone = self.standing == Standing::Removed && self.fleet.is_empty();
        if gone {
            self.expect(cx, None);
            self.forget_scale(cx);
            cx.policy.forget(self.id);
            cx.shared
                .timers
                .set(self.key(TimerKey::Backoff), &mut self.backoff, None);
        }
        gone
    }

    /// Names a timer of the service.
    fn key(&self, timer: fn(ServiceId, Slot) -> TimerKey) -> TimerKey {
        timer(self.id, self.slot)
    }

    /// Names the timer of an instance.
    fn key_of(&self, instance: InstanceId) -> TimerKey {
        TimerKey::Instance(self.id, self.slot, instance)
    }

    fn emit(&mut self, cx: &mut Cx<'_>, command: Command, reason: Reason) -> ActionId {
        let decision = cx.decide(self.id, command, reason);
        if command.lifecycle_of().is_some() {
            self.last = Some(decision);
        }
        decision.action.id
    }
}
