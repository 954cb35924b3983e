//! What a service is doing, for those who wait for it or look at it.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// What a service is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// No instance runs.
    Asleep,
    /// An instance is being started.
    Waking,
    /// An instance runs.
    Awake,
    /// An instance is being parked.
    Parking,
}

/// A service at one moment, with what has happened since the platform started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceStatus {
    /// What it is doing.
    pub activity: Activity,
    /// Restores from saved state, the service's snapshot included.
    pub restores: u64,
    /// Boots from the image.
    pub boots: u64,
    /// Times an instance was parked.
    pub parks: u64,
    /// Of these, those in the midst of something for which nobody had waited for long.
    pub parks_midway: u64,
    /// Times parking was called off because something was going on.
    pub parks_refused: u64,
    /// Instances that died unasked.
    pub deaths: u64,
    /// Starts that failed.
    pub failed_starts: u64,
    /// Bytes of the saved state at the last park.
    pub saved_bytes: u64,
    /// Of these, those that this park wrote.
    pub written_bytes: u64,
}

impl Default for ServiceStatus {
    fn default() -> Self {
        Self {
            activity: Activity::Asleep,
            restores: 0,
            boots: 0,
            parks: 0,
            parks_midway: 0,
            parks_refused: 0,
            deaths: 0,
            failed_starts: 0,
            saved_bytes: 0,
            written_bytes: 0,
        }
    }
}

/// The writing end of a service's status.
#[derive(Debug)]
pub(super) struct StatusBoard {
    status: watch::Sender<ServiceStatus>,
    /// What the last failed start said, until one succeeds.
    failure: Mutex<Option<String>>,
}

impl StatusBoard {
    pub(super) fn new() -> Self {
        Self {
            status: watch::Sender::new(ServiceStatus::default()),
            failure: Mutex::new(None),
        }
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut ServiceStatus)) {
        self.status.send_modify(change);
    }

    pub(super) fn failed(&self, reason: String) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        self.update(|status| {
            status.activity = Activity::Asleep;
            status.failed_starts += 1;
        });
    }

    /// An instance runs: what failed before is history.
    pub(super) fn started(&self, change: impl FnOnce(&mut ServiceStatus)) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.update(|status| {
            status.activity = Activity::Awake;
            change(status);
        });
    }

    pub(super) fn last_failure(&self) -> Option<String> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<ServiceStatus> {
        self.status.subscribe()
    }
}
