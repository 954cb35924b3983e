//! Random histories in which events and actions are lost, doubled and late: no rule is ever broken, and inventories
//! bring everything to an end.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use scheduler::{
    Action, Activity, Cooldown, Event, InstanceId, LimitsConfig, Milli, Phase, Policy, RequestId, Scheduler,
    ServiceConfig, Settings, Timestamp,
};

use crate::any_event::any_event;
use crate::configs;
use crate::desk::{SERVICE, ms};
use crate::owner::Owner;

/// Something that happens around the scheduler. Numbers choose among what is there.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Request,
    End(u64),
    Progress(usize, bool),
    Connection(usize, Option<Activity>),
    Usage(usize, u64),
    Wait(u64),
    Inventory,
    Configure(Box<ServiceConfig>),
    Remove,
    /// The oldest late event arrives.
    LateEvent,
}

/// What happens, what becomes of its event, and of the actions that follow.
pub(crate) type History = (Step, Fate, Fate);

/// What becomes of an event, or of an action, on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    Arrives,
    IsLost,
    ArrivesTwice,
    ArrivesLate,
}

pub(crate) fn config() -> impl Strategy<Value = ServiceConfig> {
    let concurrency = prop_oneof![Just(1), Just(2), Just(u32::MAX)];
    let max_wait = prop_oneof![Just(200), Just(3_600_000)];
    let (max, scaled) = (1..=3_u32, |(max, concurrency)| {
        (Just(max), Just(concurrency), configs::scale(max, concurrency))
    });
    let scaled = (max, concurrency).prop_flat_map(scaled);
    (
        0..=2_u32,
        scaled,
        configs::start_from(),
        1..=20_u64,
        1..=5_u32,
        max_wait,
    )
        .prop_map(
            |(min, (max, concurrency, scale), start_from, cooldown, waiting, max_wait)| {
                let mut config = ServiceConfig {
                    min_instances: min.saturating_sub(1).min(max),
                    max_instances: max,
                    concurrency,
                    cooldown: Some(ms(cooldown)),
                    scale,
                    start_from,
                    ..ServiceConfig::default()
                };
                config.resources.memory_bytes = configs::MEMORY;
                config.start.timeout = ms(50);
                config.start.retry_cap = ms(40);
                config.queue.max_waiting = waiting;
                config.queue.max_wait = ms(max_wait);
                config
            },
        )
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let activity = prop_oneof![
        Just(None),
        Just(Some(Activity::Active)),
        Just(Some(Activity::Quiet))
    ];
    prop_oneof![
        8 => Just(Step::Request),
        6 => any::<u64>().prop_map(Step::End),
        10 => (any::<usize>(), prop::bool::weighted(0.85)).prop_map(|(vm, well)| Step::Progress(vm, well)),
        3 => (any::<usize>(), activity).prop_map(|(vm, activity)| Step::Connection(vm, activity)),
        2 => (any::<usize>(), 0..2_000_u64).prop_map(|(vm, cpu)| Step::Usage(vm, cpu)),
        8 => (0..30_u64).prop_map(Step::Wait),
        3 => Just(Step::Inventory),
        1 => config().prop_map(|config| Step::Configure(Box::new(config))),
        1 => Just(Step::Remove),
        4 => Just(Step::LateEvent),
    ]
}

pub(crate) fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        14 => Just(Fate::Arrives),
        2 => Just(Fate::IsLost),
        2 => Just(Fate::ArrivesTwice),
        2 => Just(Fate::ArrivesLate),
    ]
}

pub(crate) struct World<P: Policy = Cooldown> {
    pub(crate) scheduler: Scheduler<P>,
    pub(crate) owner: Owner,
    pub(crate) now: Timestamp,
    late: Vec<Event>,
    /// What the scheduler was told, and what it answered.
    pub(crate) history: Vec<(Timestamp, Event)>,
    pub(crate) actions: Vec<Action>,
}

impl<P: Policy> World<P> {
    fn new(policy: P, limits: LimitsConfig) -> Self {
        Self {
            scheduler: Scheduler::with_policy(&settings(limits), policy),
            owner: Owner::default(),
            now: Timestamp::ZERO,
            late: Vec::new(),
            history: Vec::new(),
            actions: Vec::new(),
        }
    }

    fn tell(&mut self, event: Event, fate: Fate, actions: Fate) {
        match fate {
            Fate::Arrives => self.deliver(event, actions),
            Fate::IsLost => {}
            Fate::ArrivesTwice => {
                self.deliver(event.clone(), actions);
                self.deliver(event, actions);
            }
            Fate::ArrivesLate => self.late.push(event),
        }
    }

    /// The event arrives; the actions it leads to may be lost or doubled on their way to the owner.
    pub(crate) fn deliver(&mut self, event: Event, actions: Fate) {
        self.history.push((self.now, event.clone()));
        let before = self.actions.len();
        self.scheduler.handle(self.now, event, &mut self.actions);
        let checked = self.scheduler.check_invariants();
        assert_eq!(checked, Ok(()), "after {:?}", self.history);
        let times = match actions {
            Fate::Arrives | Fate::ArrivesLate => 1,
            Fate::IsLost => 0,
            Fate::ArrivesTwice => 2,
        };
        for action in &self.actions[before..] {
            self.owner.last_action = action.id;
            for _ in 0..times {
                self.late.extend(self.owner.apply(action));
            }
        }
    }

    fn vm(&self, choice: usize) -> Option<InstanceId> {
        let count = self.owner.vms.len();
        if count == 0 {
            None
        } else {
            self.owner.vms.keys().nth(choice % count).copied()
        }
    }

    fn step(&mut self, (step, fate, actions): History) {
        let event = match step {
            Step::Request => Some(self.owner.request()),
            Step::End(choice) => {
                let request = choice.checked_rem(self.owner.requests()).map(RequestId);
                request.and_then(|request| self.owner.end(request))
            }
            Step::Progress(choice, well) => self
                .vm(choice)
                .and_then(|vm| self.owner.progress(vm, self.now, well)),
            Step::Connection(choice, activity) => {
                self.vm(choice).and_then(|vm| self.owner.connection(vm, activity))
            }
            Step::Usage(choice, cpu) => self.vm(choice).map(|instance| Event::Usage {
                service: SERVICE,
                instance,
                cpu: Milli(cpu),
            }),
            Step::Wait(millis) => {
                self.now = self.now + ms(millis);
                Some(Event::Tick)
            }
            Step::Inventory => Some(Event::Inventory(self.owner.inventory())),
            Step::Configure(config) => {
                return self.deliver(configured(*config), Fate::Arrives);
            }
            Step::Remove => return self.deliver(Event::ServiceRemoved { service: SERVICE }, Fate::Arrives),
            Step::LateEvent => {
                if !self.late.is_empty() {
                    let event = self.late.remove(0);
                    self.deliver(event, actions);
                }
                return;
            }
        };
        if let Some(event) = event {
            self.tell(event, fate, actions);
        }
    }

    /// Nothing is lost any more and clients stop coming: everything there is comes to its end.
    pub(crate) fn calm(&mut self, rounds: u32, pause: Duration) {
        for _ in 0..rounds {
            for event in std::mem::take(&mut self.late) {
                self.deliver(event, Fate::Arrives);
            }
            let vms: Vec<_> = self.owner.vms.keys().copied().collect();
            for vm in vms {
                let event = self.owner.progress(vm, self.now, true);
                event
                    .into_iter()
                    .for_each(|event| self.deliver(event, Fate::Arrives));
                let event = self.owner.connection(vm, None);
                event
                    .into_iter()
                    .for_each(|event| self.deliver(event, Fate::Arrives));
            }
            let in_flight: Vec<_> = self
                .owner
                .vms
                .values()
                .flat_map(|vm| vm.in_flight.clone())
                .collect();
            for request in in_flight {
                let event = self.owner.end(request);
                event
                    .into_iter()
                    .for_each(|event| self.deliver(event, Fate::Arrives));
            }
            self.deliver(Event::Inventory(self.owner.inventory()), Fate::Arrives);
            self.now = self.now + pause;
            self.deliver(Event::Tick, Fate::Arrives);
        }
    }
}

pub(crate) fn configured(config: ServiceConfig) -> Event {
    let config = config.validate().expect("random configurations are valid");
    Event::ServiceConfigured {
        service: SERVICE,
        config,
    }
}

fn settings(limits: LimitsConfig) -> Settings {
    Settings {
        limits,
        ..Settings::default()
    }
}

pub(crate) fn run<P: Policy>(policy: P, config: ServiceConfig, steps: Vec<History>) -> World<P> {
    run_within(LimitsConfig::default(), policy, config, steps)
}

fn run_within<P: Policy>(
    limits: LimitsConfig,
    policy: P,
    config: ServiceConfig,
    steps: Vec<History>,
) -> World<P> {
    let mut world = World::new(policy, limits);
    world.deliver(configured(config), Fate::Arrives);
    for step in steps {
        world.step(step);
    }
    world
}

proptest! {
    #[test]
    fn every_request_ends_whatever_was_lost_and_everything_falls_asleep(
        config in config(),
        limits in configs::limits(),
        steps in vec((step(), fate(), fate()), 1..150),
    ) {
        let last = ServiceConfig { min_instances: 0, ..config.clone() };
        let mut world = run_within(limits, Cooldown, config, steps);
        world.deliver(configured(last), Fate::Arrives);
        world.calm(40, ms(10));
        let owner = &world.owner;
        prop_assert_eq!(owner.ended.len() as u64, owner.requests(), "{:?}", owner);
        prop_assert!(owner.vms.values().all(|vm| vm.phase == Phase::Parked), "{:?}", owner);
        let why = world.scheduler.why(SERVICE).expect("it is configured");
        prop_assert_eq!(why.waiting, 0);
        prop_assert_eq!(why.instances.len(), owner.vms.len());
        prop_assert!(why.instances.iter().all(|view| view.phase == Phase::Parked), "{}", why);
        prop_assert_eq!(world.scheduler.next_deadline().filter(|at| *at <= world.now), None);
    }

    #[test]
    fn the_same_events_give_the_same_actions(
        config in config(),
        limits in configs::limits(),
        steps in vec((step(), fate(), fate()), 1..150),
    ) {
        let world = run_within(limits.clone(), Cooldown, config, steps);
        let mut again = Scheduler::new(&settings(limits));
        let mut actions = Vec::new();
        for (now, event) in &world.history {
            again.handle(*now, event.clone(), &mut actions);
        }
        prop_assert_eq!(format!("{:?}", world.actions), format!("{actions:?}"));
        prop_assert_eq!(format!("{:?}", world.scheduler), format!("{again:?}"));
    }

    #[test]
    fn any_events_in_any_order_break_no_rule(limits in configs::limits(), events in vec(any_event(), 1..200)) {
        let mut scheduler = Scheduler::new(&settings(limits));
        let mut now = Timestamp::ZERO;
        let mut out = Vec::new();
        for (wait, event) in events {
            now = now + Duration::from_millis(wait);
            scheduler.handle(now, event, &mut out);
            let checked = scheduler.check_invariants();
            prop_assert!(checked.is_ok(), "{:?}", checked);
        }
        prop_assert!(out.is_sorted_by(|a, b| a.id < b.id), "action ids grow");
    }
}
