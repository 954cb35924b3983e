//! Requests that wait for the scheduler's word, and where its word goes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use scheduler::RequestId;
use tokio::sync::oneshot;

use crate::host::GuestLink;

/// The scheduler's word on one request.
pub(super) type Word = Result<Arc<dyn GuestLink>, Refused>;

/// The scheduler has refused a request.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) retry_after: Duration,
    pub(super) reason: String,
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
