use alloc::vec::Vec;
use core::time::Duration;

use crate::config::ServiceConfig;
use crate::context::Cx;
use crate::ids::InstanceId;
use crate::instance::{Instance, State};
use crate::ladder::Rung;
use crate::policy::{Basis, BreakEven, Plan};
use crate::reason::Reason;
use crate::scale::{Awake, Count, CountBasis, CountRole, FlapGuard, Milli, ScaleMode, Scaler};
use crate::service::Service;
use crate::time::Timestamp;
use crate::timers::{Timer, TimerKey};

/// What a service remembers whose count is more than what its requests need.
#[derive(Debug, Default)]
pub(crate) struct Scale {
    pub(super) scaler: Option<Scaler>,
    /// The next tick, while anything is awake; the slot of its timer.
    pub(super) tick: Option<Timer>,
    /// Instances that are to be awake until so many were once.
    initial: u32,
    /// How long that is waited for.
    initial_until: Option<Timestamp>,
    flaps: FlapGuard,
    /// T* of the last plan.
    break_even: Duration,
}

impl Scale {
    /// For a new service.
    pub(super) fn initial(instances: u32) -> Self {
        Self {
            initial: instances,
            ..Self::default()
        }
    }
}

/// How many instances are awake besides those that requests start.
impl Service {
    /// Instances that are kept awake.
    pub(super) fn least_awake(&self) -> u32 {
        let wanted = self.scale.as_ref().map_or(0, |scale| {
            let count = scale.scaler.as_ref().map_or(0, |scaler| scaler.count().desired);
            count.max(scale.initial)
        });
        let most = self.config.max_instances.min(ServiceConfig::MAX_AWAKE);
        self.min_awake().max(wanted).min(most)
    }

    /// The computed count, if there is one.
    pub(super) fn count(&self) -> Option<Count> {
        Some(self.scale.as_ref()?.scaler.as_ref()?.count())
    }

    /// When the count is computed next.
    pub(super) fn next_count(&self) -> Option<Timestamp> {
        self.scale.as_ref()?.tick.map(|tick| tick.at)
    }

    /// Whether requests wait for the count to rise instead of starting instances.
    pub(super) fn counts_exactly(&self) -> bool {
        self.config.scale.role == CountRole::Exactly && self.config.scale.mode != ScaleMode::Requests
    }

    /// Why there should be one more, if fewer are awake than are to be.
    pub(super) fn below_least(&self) -> Option<Reason> {
        let index = self.fleet.index();
        let (awake, min_instances) = (index.serving + index.arriving, self.min_awake());
        let wanted = self.least_awake();
        if awake >= wanted {
            return None;
        }
        if awake < min_instances {
            return Some(Reason::BelowMin { awake, min_instances });
        }
        let basis = self.least_basis().unwrap_or(CountBasis::Initial);
        Some(Reason::BelowCount { awake, wanted, basis })
    }

    /// A configuration came: what is known stays where the mode is the same.
    pub(super) fn configure_scale(&mut self, cx: &mut Cx<'_>) {
        let config = &self.config.scale;
        let mut scale = self.scale.take().unwrap_or_default();
        scale.initial = scale.initial.min(config.initial_instances);
        let initial_until = *scale
            .initial_until
            .get_or_insert(cx.now() + self.config.start.timeout);
        if !scale
            .scaler
            .as_ref()
            .is_some_and(|scaler| scaler.fits(&config.mode))
        {
            scale.scaler = Scaler::new(&config.mode, cx.now());
            cx.shared
                .timers
                .set(self.key(TimerKey::Scale), &mut scale.tick, None);
        }
        if let (Some(tick), Some(interval)) = (scale.tick, config.mode.interval()) {
            let tick = Some(tick.at.min(cx.now() + interval));
            cx.shared
                .timers
                .set(self.key(TimerKey::Scale), &mut scale.tick, tick);
        }
        if scale.scaler.is_none() {
            let until = (scale.initial > 0).then_some(initial_until);
            cx.shared
                .timers
                .set(self.key(TimerKey::Scale), &mut scale.tick, until);
        }
        let is_used = scale.scaler.is_some() || scale.initial > 0 || config.flapping.is_some();
        self.scale = is_used.then_some(scale);
    }

    /// Time is up for what the service has no use for any more.
    pub(super) fn forget_scale(&mut self, cx: &mut Cx<'_>) {
        if let Some(mut scale) = self.scale.take() {
            cx.shared
                .timers
                .set(self.key(TimerKey::Scale), &mut scale.tick, None);
        }
    }

    /// Tells the scaler what the last event changed. It ticks only while something is awake or wanted.
    pub(super) fn observe_load(&mut self, cx: &mut Cx<'_>) {
        self.watch_initial(cx);
        let key = self.key(TimerKey::Scale);
        let Some(scale) = &mut self.scale else { return };
        let (index, waiting, now) = (self.fleet.index(), self.requests.waiting(), cx.now());
        let Some(scaler) = &mut scale.scaler else { return };
        let in_system = u64::try_from(self.requests.len()).unwrap_or(u64::MAX);
        let awake = index.serving + index.arriving;
        let is_active = awake + index.parking + waiting > 0 || scaler.count().desired > 0;
        match (is_active, scale.tick, self.config.scale.mode.interval()) {
            (true, None, Some(interval)) => {
                let counts = match self.config.scale.role {
                    CountRole::AtLeast => 0,
                    CountRole::Exactly => awake,
                };
                scaler.woke(now, index.serving, counts);
                cx.shared.timers.set(key, &mut scale.tick, Some(now + interval));
            }
            (false, Some(_), _) => {
                scaler.fell_asleep();
                cx.shared.timers.set(key, &mut scale.tick, None);
            }
            _ => {}
        }
        scaler.loaded(now, in_system, waiting);
    }

    /// Once so many instances run as there were to be at first, or did not come in time, they may fall asleep.
    fn watch_initial(&mut self, cx: &mut Cx<'_>) {
        let serving = self.fleet.index().serving;
        let key = self.key(TimerKey::Scale);
        let Some(scale) = &mut self.scale else { return };
        let is_late = scale.initial_until.is_some_and(|until| until <= cx.now());
        if scale.initial > 0 && (serving >= scale.initial || is_late) {
            scale.initial = 0;
            if scale.scaler.is_none() {
                cx.shared.timers.set(key, &mut scale.tick, None);
            }
            self.release_held(cx);
        }
    }

    /// The service had its initial instances before this scheduler.
    pub(super) fn had_initial(&mut self) {
        if let Some(scale) = &mut self.scale {
            scale.initial = 0;
        }
    }

    /// Computes the count and brings the instances in line with it.
    pub(crate) fn scale_tick(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        let awake = self.awake();
        if let Some(scale) = &mut self.scale {
            scale.tick = None;
        }
        self.watch_initial(cx);
        let bounds = (self.min_awake(), self.config.max_instances);
        let key = self.key(TimerKey::Scale);
        let Some(scale) = &mut self.scale else { return };
        let Some(scaler) = &mut scale.scaler else { return };
        let serves =
            |instance: &&Instance| matches!(instance.state, State::Running { .. }) && !instance.draining;
        let serving = self.fleet.iter().filter(serves);
        scaler.sync(now, serving.map(|instance| (instance.id, instance.in_flight)));
        let has_changed = scaler.tick(&self.config.scale, (now, cx.shared.resumed_at), awake, bounds);
        if let Some(interval) = self.config.scale.mode.interval() {
            let next = Some(now + interval);
            cx.shared.timers.set(key, &mut scale.tick, next);
        }
        if has_changed {
            self.release_held(cx);
            self.dispatch(cx);
        }
    }

    fn awake(&self) -> Awake {
        let index = self.fleet.index();
        let level = Rung::Park(self.config.park_level);
        let wake = self
            .config
            .ladder
            .cost(level, self.config.park_level)
            .map_or(Duration::ZERO, |cost| cost.wake);
        Awake {
            serving: index.serving,
            arriving: index.arriving,
            slots: self.config.slots().meant(),
            regret: wake.saturating_mul(self.config.ladder.dial.beta()),
        }
    }

    /// Idle instances that were kept awake because there had to be so many may fall asleep, if there are more now.
    pub(super) fn release_held(&mut self, cx: &mut Cx<'_>) {
        let held = |instance: &&Instance| instance.idle_since().is_some() && instance.timer.is_none();
        let held: Vec<_> = self
            .fleet
            .iter()
            .filter(held)
            .map(|instance| instance.id)
            .collect();
        for id in held {
            self.settle(cx, id);
        }
    }

    /// A plan as the count and the guard against flapping let it be.
    pub(super) fn adjust_plan(&mut self, cx: &Cx<'_>, mut plan: Plan) -> Plan {
        if self.counts_exactly() {
            let at_once = plan.then(Rung::Park(self.config.park_level), Duration::ZERO);
            return at_once.with_prewake(None);
        }
        if let (Some(flapping), Some(scale)) = (&self.config.scale.flapping, &mut self.scale)
            && let Some(break_even) = break_even(plan.basis())
        {
            scale.break_even = break_even;
            if scale.flaps.is_flapping(flapping, cx.now()) {
                plan.not_before(break_even);
            }
        }
        plan
    }

    /// A sleeping instance is woken.
    pub(super) fn observe_wake(&mut self, cx: &Cx<'_>, id: InstanceId) {
        if let (Some(flapping), Some(scale)) = (&self.config.scale.flapping, &mut self.scale)
            && let Some(instance) = self.fleet.find(id)
        {
            let slept = cx.now().saturating_since(instance.commanded_at);
            scale.flaps.woken(flapping, cx.now(), slept, scale.break_even);
        }
    }

    pub(super) fn is_flapping(&self) -> bool {
        self.scale.as_ref().is_some_and(|scale| scale.flaps.lasts())
    }

    pub(super) fn observe_in_flight(&mut self, cx: &Cx<'_>, id: InstanceId, in_flight: u32) {
        if let Some(scaler) = self.scaler() {
            scaler.instance_loaded(cx.now(), id, in_flight);
        }
    }

    pub(super) fn scaler(&mut self) -> Option<&mut Scaler> {
        self.scale.as_mut()?.scaler.as_mut()
    }

    /// An instance used so much.
    pub(crate) fn usage(&mut self, cx: &mut Cx<'_>, id: InstanceId, cpu: Milli) {
        if self.fleet.find(id).is_none() {
            return cx.ignore();
        }
        if let Some(scaler) = self.scaler() {
            scaler.usage(id, cpu);
        }
    }
}

/// T*, if the plan knows one.
fn break_even(basis: Basis) -> Option<Duration> {
    match basis {
        Basis::Cooldown | Basis::Refused { .. } => None,
        Basis::SkiRental(BreakEven { after_us, .. })
        | Basis::Learned {
            break_even: BreakEven { after_us, .. },
            ..
        } => Some(Duration::from_micros(u64::from(after_us))),
    }
}
