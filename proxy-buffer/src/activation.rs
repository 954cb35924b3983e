//! The one task that wakes a target.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{ActivateError, Activator, Epoch, target::Target, time::Timestamp};

/// An activation that runs, or that was cancelled and may still run.
pub(crate) struct Activation {
    cancel: CancellationToken,
    task: JoinHandle<()>,
    started: Timestamp,
}

impl Activation {
    /// Starts the activation of `epoch`. Its future is only made once that of a cancelled `previous` is dropped.
    pub(crate) fn start<A: Activator>(target: &Arc<Target<A>>, epoch: Epoch, previous: Option<Self>) -> Self {
        let cancel = CancellationToken::new();
        let previous = previous
            .map(|activation| activation.task)
            .filter(|task| !task.is_finished());
        let shared = target.shared();
        let run = run(target.clone(), epoch, cancel.clone(), previous);
        let task = shared.tracker.spawn_on(run, &shared.runtime);
        Self {
            cancel,
            task,
            started: shared.clock.now(),
        }
    }

    /// Lets the task drop the activation's future.
    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
    }

    pub(crate) fn started(&self) -> Timestamp {
        self.started
    }
}

async fn run<A: Activator>(
    target: Arc<Target<A>>,
    epoch: Epoch,
    cancel: CancellationToken,
    previous: Option<JoinHandle<()>>,
) {
    if let Some(previous) = previous {
        // It ends at its next poll, because it was cancelled; a panic in it was reported by its own guard.
        let _ = previous.await;
    }
    let mut unfinished = Unfinished {
        target: Some(target.clone()),
        epoch,
    };
    let result = tokio::select! {
        biased;
        () = cancel.cancelled() => None,
        result = target.shared().activator.activate(target.key()) => Some(result),
    };
    unfinished.target = None;
    if let Some(result) = result {
        target.activated(epoch, result);
    }
}

/// Refuses who waits for an activation that will never end: it panicked, or its runtime shuts down.
struct Unfinished<A: Activator> {
    target: Option<Arc<Target<A>>>,
    epoch: Epoch,
}

impl<A: Activator> Drop for Unfinished<A> {
    fn drop(&mut self) {
        if let Some(target) = self.target.take() {
            target.activated(
                self.epoch,
                Err(ActivateError::new("the activation ended without a result")),
            );
        }
    }
}
