//! Requests that wait for the scheduler's word, and where its word goes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use scheduler::RequestId;
use tokio::sync::oneshot;

use crate::host::GuestLink;

/// The scheduler's word on one request.
#[derive(Debug, Clone)]
pub(super) enum Word {
    /// It is admitted to the instance behind this link.
    Admitted(Arc<dyn GuestLink>),
    /// It is refused.
    Refused { retry_after: Duration, reason: String },
    /// It was admitted to an instance that had just died, of which the scheduler knows by now.
    Died,
}

/// Requests by id. Bounded by the proxy, which asks once for each target that wakes.
#[derive(Default)]
pub(super) struct Requests {
    waiting: HashMap<RequestId, oneshot::Sender<Word>>,
    last: u64,
}

impl Requests {
    /// A new id.
    pub(super) fn id(&mut self) -> RequestId {
        self.last += 1;
        RequestId(self.last)
    }

    /// A new request, and where its answer comes.
    pub(super) fn wait(&mut self) -> (RequestId, oneshot::Receiver<Word>) {
        let (sender, receiver) = oneshot::channel();
        let id = self.id();
        self.waiting.insert(id, sender);
        (id, receiver)
    }

    /// Gives `id` its answer, unless it has left or never waited.
    pub(super) fn answer(&mut self, id: RequestId, word: Word) {
        if let Some(sender) = self.waiting.remove(&id) {
            // Who waited may have left in this very moment; its `RequestDone` is on the way.
            let _ = sender.send(word);
        }
    }

    pub(super) fn forget(&mut self, id: RequestId) {
        self.waiting.remove(&id);
    }
    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}
