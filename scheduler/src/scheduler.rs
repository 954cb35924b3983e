use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use crate::action::{Action, Command};
use crate::context::{Cx, Shared};
use crate::event::Event;
use crate::explain::Explanation;
use crate::ids::{InstanceId, RequestId, ServiceId};
use crate::invariants::Violation;
use crate::inventory::Inventory;
use crate::log::{Decision, Log};
use crate::policy::{Cooldown, Policy};
use crate::reason::Reason;
use crate::service::Service;
use crate::time::Timestamp;
use crate::why_not::WhyNot;

/// What a client is told that asks for a service that is not there.
const UNKNOWN_SERVICE_RETRY: Duration = Duration::from_secs(1);

/// What concerns all services of a scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The first id for an instance. After a restart: greater than any id used before. Default 1.
    pub first_instance: InstanceId,
    /// How many decisions [`Scheduler::decisions`] remembers. Default 256.
    pub log_len: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            first_instance: InstanceId(1),
            log_len: 256,
        }
    }
}

/// Decides when instances start, park and stop, and which request goes where.
///
/// A pure state machine: what happened goes in by [`handle`](Self::handle), what is to be done comes out. The same
/// events at the same times give the same actions.
#[derive(Debug)]
pub struct Scheduler<P: Policy = Cooldown> {
    services: BTreeMap<ServiceId, Box<Service>>,
    shared: Shared,
    policy: P,
}

impl Scheduler {
    /// A scheduler without services that parks after a fixed cooldown.
    pub fn new(settings: &Settings) -> Self {
        Self::with_policy(settings, Cooldown)
    }
}

impl<P: Policy> Scheduler<P> {
    /// A scheduler without services that parks when `policy` says.
    pub fn with_policy(settings: &Settings, policy: P) -> Self {
        let shared = Shared::new(settings.first_instance, Log::new(settings.log_len));
        Self {
            services: BTreeMap::new(),
            shared,
            policy,
        }
    }

    /// Takes in what happened and appends to `out` what is to be done, in this order.
    ///
    /// `now` never goes back: an earlier time counts as the latest one seen. Only [`Event::Tick`] does what is due by
    /// time, so that whatever happened first has its effect first.
    pub fn handle(&mut self, now: Timestamp, event: Event, out: &mut Vec<Action>) {
        self.shared.now = self.shared.now.max(now);
        let mut cx = Cx {
            shared: &mut self.shared,
            policy: &mut self.policy,
            out,
        };
        let Some(id) = event.service() else {
            while let Some(key) = cx.shared.timers.pop_due(cx.now()) {
                let id = key.service();
                let gone = self
                    .services
                    .get_mut(&id)
                    .is_some_and(|service| service.on_timer(&mut cx, key));
                if gone {
                    self.services.remove(&id);
                }
            }
            return;
        };
        if let Event::ServiceConfigured { config, .. } = &event {
            self.services
                .entry(id)
                .or_insert_with(|| Box::new(Service::new(id, config.clone())));
        }
        match self.services.get_mut(&id) {
            None => refuse(&mut cx, &event),
            Some(service) => {
                if service.on_event(&mut cx, event) {
                    self.services.remove(&id);
                }
            }
        }
    }

    /// When [`Event::Tick`] is wanted next; `None` while nothing is due at any time.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.shared.timers.next()
    }

    /// Why the service is as it is, at the time of the last event; `None` if there is no such service.
    pub fn why(&self, service: ServiceId) -> Option<Explanation> {
        self.services
            .get(&service)
            .map(|known| known.explain(self.shared.now))
    }

    /// Why nothing of the service was started, parked or stopped by the last event, and what would change it; `None` if
    /// there is no such service.
    pub fn why_not(&self, service: ServiceId) -> Option<WhyNot> {
        self.services
            .get(&service)
            .map(|known| known.why_not(self.shared.now))
    }

    /// The last decisions of all services, oldest first, except admissions.
    pub fn decisions(&self) -> impl DoubleEndedIterator<Item = &Decision> {
        self.shared.log.iter()
    }

    /// The services there are, by id; removed ones until their last instance is gone.
    pub fn services(&self) -> impl Iterator<Item = ServiceId> {
        self.services.keys().copied()
    }

    /// Events that fitted nothing since the start: duplicates and those that came too late.
    pub fn ignored_events(&self) -> u64 {
        self.shared.ignored
    }

    /// The policy, to save what it learnt.
    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// Checks every rule that must hold between two events. For tests: looks at everything.
    ///
    /// # Errors
    /// The first rule found broken.
    pub fn check_invariants(&self) -> Result<(), Violation> {
        let mut armed = 0;
        for service in self.services.values() {
            armed += service.check(&self.shared)?;
        }
        Violation::unless(
            armed == self.shared.timers.len(),
            None,
            "every timer has an owner",
        )
    }
}

/// What is asked of a service that is not there gets an answer; what is said about it is ignored.
fn refuse(cx: &mut Cx<'_>, event: &Event) {
    match event {
        Event::RequestQueued { service, request } => shed_unknown(cx, *service, *request),
        Event::Inventory(Inventory {
            service,
            waiting,
            instances,
            ..
        }) => {
            for report in instances {
                let command = Command::Stop {
                    instance: report.instance,
                    epoch: report.epoch.next(),
                };
                cx.decide(*service, command, Reason::UnknownService);
            }
            for request in waiting {
                shed_unknown(cx, *service, *request);
            }
        }
        _ => cx.ignore(),
    }
}

fn shed_unknown(cx: &mut Cx<'_>, service: ServiceId, request: RequestId) {
    let command = Command::Shed {
        request,
        retry_after: UNKNOWN_SERVICE_RETRY,
    };
    cx.decide(service, command, Reason::UnknownService);
}
