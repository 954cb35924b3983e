//! The proxy: a set of targets and the tasks that serve them.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{net::TcpListener, runtime::Handle, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Activator, InvalidLimits, Limits, Observer, Stream, TargetHandle, TcpOptions,
    budget::Budget,
    drain::{self, DrainReport, Tally},
    observe::Herald,
    seats::Seats,
    signal::Stage,
    target::Target,
    tcp,
    time::Clock,
};

/// What every target of a proxy uses.
pub(crate) struct Shared<A: Activator> {
    pub(crate) limits: Limits,
    pub(crate) activator: A,
    pub(crate) observer: Herald<A::Key>,
    pub(crate) clock: Clock,
    pub(crate) budget: Arc<Budget>,
    pub(crate) seats: Arc<Seats>,
    /// Connections without a seat that may be dealt with at the same time.
    pub(crate) lobby: Arc<Semaphore>,
    pub(crate) runtime: Handle,
    /// Every task of the proxy.
    pub(crate) tracker: TaskTracker,
    /// Ends the accept loops.
    pub(crate) stop: CancellationToken,
    pub(crate) tally: Tally,
}

/// All targets, and how far the drain has come.
pub(crate) struct Registry<A: Activator> {
    pub(crate) targets: HashMap<A::Key, Arc<Target<A>>>,
    pub(crate) stage: Stage,
}

/// Holds requests for targets that sleep, wakes each once, and releases them. Cheap to clone.
///
/// Ends with [`drain`](Self::drain); until then its tasks run on the tokio runtime that it was made in.
pub struct Proxy<A: Activator> {
    shared: Arc<Shared<A>>,
    /// Taken before a target's lock, never after.
    registry: Arc<Mutex<Registry<A>>>,
}

impl<A: Activator> Proxy<A> {
    /// A proxy without targets.
    ///
    /// # Errors
    /// [`InvalidLimits`] if a limit would let nothing through.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(limits: Limits, activator: A, observer: impl Observer<A::Key>) -> Result<Self, InvalidLimits> {
        limits.check()?;
        let clock = Clock::start();
        let shared = Shared {
            seats: Seats::new(limits.clone(), clock),
            lobby: Arc::new(Semaphore::new(tcp::LOBBY)),
            budget: Arc::new(Budget::new(limits.held_bytes_total)),
            limits,
            activator,
            observer: Herald::new(observer),
            clock,
            runtime: Handle::current(),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            tally: Tally::default(),
        };
        let registry = Registry {
            targets: HashMap::new(),
            stage: Stage::Open,
        };
        Ok(Self {
            shared: Arc::new(shared),
            registry: Arc::new(Mutex::new(registry)),
        })
    }

    /// The target of that name; asleep, if it was not known before.
    pub fn target(&self, key: A::Key) -> TargetHandle<A> {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let stage = registry.stage;
        let target = registry
            .targets
            .entry(key)
            .or_insert_with_key(|key| Target::new(key.clone(), self.shared.clone(), stage));
        TargetHandle::new(target.clone())
    }

    /// Frees a target that nothing uses: no handle, listener or connection is left. True if it is gone.
    #[must_use]
    pub fn forget(&self, key: &A::Key) -> bool {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock no new reference can come, because all others come from one of those counted.
        match registry.targets.get(key) {
            Some(target) if Arc::strong_count(target) > 1 => false,
            _ => {
                registry.targets.remove(key);
                true
            }
        }
    }

    /// Serves every connection that `listener` accepts, in a task of the proxy, until the proxy drains.
    pub fn serve(&self, listener: TcpListener, target: &TargetHandle<A>, options: TcpOptions) {
        tcp::serve(listener, target.target().clone(), options);
    }

    /// Serves one client over a stream that was accepted elsewhere, in a task of the proxy. At a limit on connections it
    /// waits there for its place, and 32 may at the same time; the next is dropped. An answer that has to be broken
    /// off ends by dropping it: a stream that can be reset should be when it is dropped with bytes unsent.
    pub fn serve_connection(&self, client: impl Stream, target: &TargetHandle<A>, options: TcpOptions) {
        tcp::serve_connection(client, target.target().clone(), options.into(), |_| {});
    }

    /// Bytes of requests that the whole proxy holds now.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.shared.budget.taken_bytes()
    }

    /// Stops accepting, lets requests finish, closes idle connections, and returns when no task is left. What is not
    /// done after `deadline` is refused if it still waits at a gate, and cut off otherwise.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the proxy draining without a deadline; calling again goes on.
    pub async fn drain(&self, deadline: Duration) -> DrainReport {
        drain::drain(&self.shared, &self.registry, deadline).await
    }
}

impl<A: Activator> Clone for Proxy<A> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            registry: self.registry.clone(),
        }
    }
}

impl<A: Activator> fmt::Debug for Proxy<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("limits", &self.shared.limits)
            .finish_non_exhaustive()
    }
}
