//! Instances that end by themselves, and those that are ended because they do not answer.

use std::sync::Arc;
use std::time::Duration;

use scheduler::{Event, ServiceId, Timestamp};
use tokio::sync::oneshot;
use tracing::warn;

use super::driver::{Controller, Core, Running};
use super::run::Run;
use super::status::Activity;
use super::turn::{Todo, Turn};
use crate::host::Verdict;
use crate::vitals::MOST_TIMEOUTS;

/// How an instance was found to be of no use any more.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fallen {
    Dead,
    /// It runs, but does not answer.
    Silent(Verdict),
}

impl Controller {
    /// Waits for the instance's death, until it is asleep or stopped.
    pub(super) fn watch(self: &Arc<Self>, run: Run, died: oneshot::Receiver<String>) {
        let controller = Arc::clone(self);
        self.watches.spawn(async move {
            if let Ok(reason) = died.await {
                controller.on_fall(run, Fallen::Dead, reason);
            }
        });
    }

    /// An answer of `service` did not come within `waited`. An instance that leaves too many in a row unanswered counts as dead.
    /// For a caller that holds a lock of the proxy's.
    pub(crate) fn answer_timed_out(self: &Arc<Self>, service: ServiceId, waited: Duration) {
        let Some(known) = self.services.get(&service) else {
            return;
        };
        let now = self.now().saturating_since(Timestamp::ZERO);
        let timeouts = match known.vitals.pulse.timed_out(now, waited) {
            Some(timeouts) if timeouts >= MOST_TIMEOUTS => timeouts,
            _ => return,
        };
        let (verdict, reason) = known.vitals.pulse.verdict(timeouts, waited);
        let turn = {
            let mut core = self.core();
            let newest = core.newest.get(&service).copied();
            // While the host parks it, it is the host's; if it wakes as it was, the next one that is not answered tells.
            newest.and_then(|instance| match core.running.get(&instance) {
                Some(&Running {
                    epoch,
                    parking: false,
                    ..
                }) => {
                    let run = Run {
                        service,
                        instance,
                        epoch,
                    };
                    self.falls(&mut core, run, Fallen::Silent(verdict), reason)
                }
                _ => None,
            })
        };
        if let Some(turn) = turn {
            self.tasks.spawn(async move { turn.execute() });
        }
    }

    /// Told by whoever notices first: the one who watches the instance, or the host that was to park it.
    pub(super) fn on_fall(self: &Arc<Self>, run: Run, fallen: Fallen, reason: String) {
        let turn = self.falls(&mut self.core(), run, fallen, reason);
        if let Some(turn) = turn {
            turn.execute();
        }
    }

    /// Takes an instance out of those that run, if it is there. What that means for it is done before what the scheduler makes of
    /// it, so that nothing goes on from what the host is about to judge.
    fn falls(self: &Arc<Self>, core: &mut Core, run: Run, fallen: Fallen, reason: String) -> Option<Turn> {
        let Running { epoch, .. } = core.running.remove(&run.instance)?;
        let run = Run { epoch, ..run };
        core.agenda.push(Todo::End { run, fallen, reason });
        self.decide_with(core, run.exited())
    }

    /// Does what there is to do for an instance that was taken out.
    pub(super) fn end(self: &Arc<Self>, run: Run, fallen: Fallen, reason: &str) {
        let Run {
            service: id,
            instance,
            ..
        } = run;
        let Some(service) = self.services.get(&id) else {
            return;
        };
        match fallen {
            Fallen::Dead => warn!(service = id.0, instance = instance.0, reason, "an instance died"),
            Fallen::Silent(_) => warn!(
                service = id.0,
                instance = instance.0,
                reason,
                "an instance does not answer and is stopped"
            ),
        }
        service.vitals.clock.gave_up();
        service.board.update(|status| {
            status.activity = Activity::Asleep;
            status.deaths += 1;
        });
        // Before the host: what comes from now on is held for the next instance.
        if let Some(gate) = service.gate() {
            gate.lost(reason);
        }
        match fallen {
            Fallen::Dead => service.host.stop(instance),
            Fallen::Silent(verdict) => service.host.give_up(instance, verdict),
        }
        self.put_aside(service);
    }

    /// Takes an instance out of those that run, and tells the scheduler in one with that; `event` is given the epoch of its last
    /// command. Says whether it is the caller's turn to execute, or `None` if it ran no more.
    pub(super) fn gone(self: &Arc<Self>, run: Run, event: impl FnOnce(Run) -> Event) -> Option<Option<Turn>> {
        let mut core = self.core();
        let Running { epoch, .. } = core.running.remove(&run.instance)?;
        Some(self.decide_with(&mut core, event(Run { epoch, ..run })))
    }
}
