//! What the link's own epoll descriptor watches: streams and the timer.

use std::os::fd::AsRawFd;
use std::time::Duration;

use vmm_sys_util::epoll::{ControlOperation, EpollEvent, EventSet};

use super::host_stream::HostStream;
use super::spares::REFILL_DELAY_MS;
use super::time::earliest;
use super::usernet::{Host, UserNet};

impl UserNet {
    /// Brings the watching of streams up to date.
    pub(super) fn register(&mut self) {
        for id in self.unregistered.drain(..) {
            let Some(connection) = self.link.connection(id) else {
                continue;
            };
            let Host::Stream(stream) = &mut connection.host.host else {
                continue;
            };
            let wanted = stream.wanted(&connection.tcp);
            let event = EpollEvent::new(wanted.unwrap_or(EventSet::empty()), id.into());
            let operation = match (stream.interest, wanted) {
                (None, Some(_)) => ControlOperation::Add,
                (Some(before), Some(now)) if before != now => ControlOperation::Modify,
                (Some(_), None) => ControlOperation::Delete,
                _ => continue,
            };
            match self.epoll.ctl(operation, stream.as_raw_fd(), event) {
                Ok(()) => stream.interest = wanted,
                Err(error) => {
                    // The system is out of memory or watches. A stream that nobody watches would hang for ever.
                    tracing::debug!(%error, "watch a connection's stream");
                    connection.host.host = Host::Gone;
                    connection.tcp.abort();
                    self.link.touch(id);
                }
            }
        }
    }

    /// Has the stream of a connection watched as it needs to be.
    pub(super) fn watch(&mut self, id: u16) {
        self.unregistered.push(id);
    }

    /// Ends the watching of a stream that goes on elsewhere.
    pub(super) fn unwatch(&self, stream: &HostStream) {
        if stream.interest.is_some() {
            // It is registered, so that this cannot fail.
            let _ = self.epoll.ctl(
                ControlOperation::Delete,
                stream.as_raw_fd(),
                EpollEvent::default(),
            );
        }
    }

    /// Sets the timer if it would go off too late. One that would go off too early is left alone: an expiry in vain
    /// costs less than a system call for every segment.
    pub(super) fn arm(&mut self) {
        let now = self.now();
        let idle = self.link.is_quiet() && self.handshakes < self.config.max_handshakes;
        let refill = self
            .spares
            .deadline()
            .filter(|_| idle)
            .map(|due| due.max(now.plus(REFILL_DELAY_MS)));
        let waiting = self.waiting.front().map(|first| first.deadline);
        let Some(deadline) = earliest(earliest(self.link.deadline(), refill), waiting) else {
            return;
        };
        if self.armed.is_none_or(|armed| deadline < armed) {
            let delay = Duration::from_millis(deadline.since(now).max(1));
            if self.timer.reset(delay, None).is_ok() {
                self.armed = Some(deadline);
            }
        }
    }

    /// Stops the timer, whether it has gone off or not.
    pub(super) fn disarm(&mut self) {
        // It cannot fail: the descriptor is a timer, and the value is zero.
        let _ = self.timer.clear();
        self.armed = None;
    }
}
