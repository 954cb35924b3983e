use core::time::Duration;

use crate::action::Command;
use crate::context::Cx;
use crate::ids::{InstanceId, RequestId};
use crate::reason::Reason;
use crate::requests::{Place, Waiter};
use crate::service::{Service, Standing};

/// Requests come, are admitted or shed, and end.
impl Service {
    pub(crate) fn request_queued(&mut self, cx: &mut Cx<'_>, request: RequestId) {
        if self.requests.place(request).is_some() {
            return cx.ignore();
        }
        self.counters.queued += 1;
        if let Some(scaler) = self.scaler() {
            scaler.request_arrived();
        }
        if self.standing == Standing::Removed {
            return self.shed(cx, request, self.config.queue.retry_after, Reason::ServiceRemoved);
        }
        let waiter = Waiter {
            request,
            since: cx.now(),
            level: self.needed_with(1),
        };
        if let Some(instance) = self.fleet.first_free() {
            self.admit(cx, waiter, instance);
            if self.config.scale.soft_concurrency < u32::MAX {
                self.dispatch(cx);
            }
            return;
        }
        let (waiting, max_waiting) = (self.requests.waiting(), self.config.queue.max_waiting);
        if waiting >= max_waiting {
            let reason = Reason::QueueFull { waiting, max_waiting };
            return self.shed(cx, request, self.retry_after(cx), reason);
        }
        self.requests.enqueue(waiter);
        self.dispatch(cx);
        if cx.shared.gate.waiting() > 0 {
            self.brown_out(cx);
        }
    }

    pub(crate) fn request_done(&mut self, cx: &mut Cx<'_>, request: RequestId) {
        match self.requests.remove(request) {
            None => cx.ignore(),
            Some(Place::Waiting { .. }) => {
                self.counters.left += 1;
                self.dispatch(cx);
            }
            Some(Place::InFlight { instance, .. }) => {
                self.counters.done += 1;
                self.failures = 0;
                let left = self.fleet.update(instance, |instance| {
                    instance.in_flight -= 1;
                    instance.in_flight
                });
                self.observe_in_flight(cx, instance, left.unwrap_or(0));
                self.observe_level(cx);
                self.dispatch(cx);
                self.settle(cx, instance);
            }
        }
    }

    pub(crate) fn wait_ended(&mut self, cx: &mut Cx<'_>) {
        self.wait = None;
        let (max_wait, retry_after) = (self.config.queue.max_wait, self.retry_after(cx));
        while let Some(waiter) = self.requests.front() {
            let waited = cx.now().saturating_since(waiter.since);
            if waited < max_wait {
                break;
            }
            let reason = Reason::WaitedTooLong { waited, max_wait };
            self.shed(cx, waiter.request, retry_after, reason);
        }
        self.dispatch(cx);
    }

    pub(super) fn admit(&mut self, cx: &mut Cx<'_>, waiter: Waiter, id: InstanceId) {
        let Some((epoch, in_flight)) = self.fleet.update(id, |instance| {
            instance.in_flight += 1;
            (instance.epoch, instance.in_flight)
        }) else {
            return;
        };
        self.observe_in_flight(cx, id, in_flight);
        if let Some(scaler) = self.scaler() {
            scaler.request_admitted(id);
        }
        self.settle(cx, id);
        let command = Command::Admit {
            request: waiter.request,
            instance: id,
            epoch,
        };
        let waited = cx.now().saturating_since(waiter.since);
        let reason = Reason::SlotFree {
            waited,
            in_flight,
            concurrency: self.config.concurrency,
        };
        let admitted_by = self.emit(cx, command, reason);
        self.requests.admit(waiter.request, id, admitted_by);
        self.counters.admitted += 1;
    }

    pub(super) fn shed(
        &mut self,
        cx: &mut Cx<'_>,
        request: RequestId,
        retry_after: Duration,
        reason: Reason,
    ) {
        self.requests.remove(request);
        self.counters.shed += 1;
        self.emit(cx, Command::Shed { request, retry_after }, reason);
    }

    pub(super) fn shed_all(&mut self, cx: &mut Cx<'_>, retry_after: Duration, reason: Reason) {
        while let Some(waiter) = self.requests.front() {
            self.shed(cx, waiter.request, retry_after, reason);
        }
    }
}
