//! What wakes a target.

use std::{error::Error, fmt, future::Future, hash::Hash, sync::Arc, time::Duration};

use crate::Backend;

/// Wakes targets. The proxy calls it; the owner of the backends implements it.
///
/// (Not called a waker: [`std::task::Waker`] is in scope wherever this is used.)
pub trait Activator: Send + Sync + 'static {
    /// The caller's own name of a target.
    type Key: Clone + Eq + Hash + fmt::Debug + Send + Sync + 'static;
    /// What a woken target is reached by.
    type Backend: Backend;

    /// Wakes `key` and returns once it can be connected to: readiness is this event, nothing polls.
    ///
    /// At most one such future per target exists at any time, however many clients wait.
    ///
    /// # Errors
    /// Every waiting client is refused with the error; the next request calls this again.
    ///
    /// # Cancel safety
    /// The future is dropped when the last waiting client has left, so it must give back what it holds when dropped.
    fn activate(&self, key: &Self::Key) -> impl Future<Output = Result<Self::Backend, ActivateError>> + Send;

    /// Takes back a backend that became ready in the moment in which the last client left. Dropped by default.
    fn unwanted(&self, key: &Self::Key, backend: Self::Backend) {
        let _ = key;
        drop(backend);
    }
}

/// Why a target could not be woken. Cheap to clone: each waiting client gets it.
#[derive(Clone)]
pub struct ActivateError {
    source: Arc<dyn Error + Send + Sync>,
    retry_after: Option<Duration>,
}

impl ActivateError {
    /// An error with `source` as its text and cause; a `&str` will do.
    pub fn new(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            source: source.into().into(),
            retry_after: None,
        }
    }

    /// Tells clients when another try may succeed.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// When another try may succeed, if the owner knows.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Debug for ActivateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActivateError")
            .field("source", &self.source)
            .field("retry_after", &self.retry_after)
            .finish()
    }
}

impl fmt::Display for ActivateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl Error for ActivateError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}
