//! An alarm that is exact to some ten microseconds: the runtime's timers count whole milliseconds and round up, twice.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::Notify;

/// One alarm, kept by a thread of its own. Dropping it ends and joins the thread.
pub(super) struct Alarm {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// Guards the setting alone.
    setting: Mutex<Setting>,
    changed: Condvar,
    rang: Notify,
}

#[derive(Clone, Copy)]
enum Setting {
    Off,
    At(Instant),
    Ending,
}

impl Alarm {
    /// An alarm that is off.
    pub(super) fn new() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            setting: Mutex::new(Setting::Off),
            changed: Condvar::new(),
            rang: Notify::new(),
        });
        let thread = std::thread::Builder::new().name("alarm".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.keep()
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Sets it to ring once at `at`, or not at all, in place of what it was set to.
    pub(super) fn set(&self, at: Option<Instant>) {
        *self.shared.lock() = at.map_or(Setting::Off, Setting::At);
        self.shared.changed.notify_all();
    }

    /// Waits until it has rung. A ring that nobody waited for is kept for the next who does.
    pub(super) async fn rang(&self) {
        self.shared.rang.notified().await;
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        *self.shared.lock() = Setting::Ending;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It only fails when the thread panicked, which the panic hook has reported.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Setting> {
        self.setting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self) {
        let mut setting = self.lock();
        loop {
            setting = match *setting {
                Setting::Ending => return,
                Setting::Off => self.changed.wait(setting).unwrap_or_else(PoisonError::into_inner),
                Setting::At(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        *setting = Setting::Off;
                        self.rang.notify_one();
                        continue;
                    }
                    let waited = self.changed.wait_timeout(setting, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_rings_at_its_time_and_not_before() {
        let alarm = Alarm::new().unwrap();
        let at = Instant::now() + Duration::from_millis(3);
        alarm.set(Some(at));
        alarm.rang().await;
        assert!(Instant::now() >= at);
    }

    #[tokio::test]
    async fn the_last_setting_counts() {
        let alarm = Alarm::new().unwrap();
        alarm.set(Some(Instant::now() + Duration::from_secs(3600)));
        alarm.set(Some(Instant::now()));
        alarm.rang().await;
        alarm.set(None);
    }
}
