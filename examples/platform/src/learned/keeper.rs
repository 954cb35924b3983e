//! Saves what was learned, now and then and in the end.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::warn;

use super::LearnedFile;

/// So often it is saved if it has changed. A platform that is killed loses no more.
const EVERY: Duration = Duration::from_secs(60);

/// A task that keeps a file up to date. Dropped, it ends without saving again.
#[derive(Debug)]
pub(crate) struct Keeper {
    finish: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Keeps what `learned` says, which is called at once and then once a minute, in `file`.
    pub(crate) fn start(file: LearnedFile, learned: impl Fn() -> Vec<u8> + Send + 'static) -> Self {
        let (finish, finished) = oneshot::channel();
        let saved = learned();
        let task = tokio::spawn(keep(file, learned, saved, finished));
        Self { finish, task }
    }

    /// Saves for the last time.
    pub(crate) async fn finish(self) {
        // It has ended before only if it panicked, which has been reported.
        let _ = self.finish.send(());
        let _ = self.task.await;
    }
}

async fn keep(
    file: LearnedFile,
    learned: impl Fn() -> Vec<u8> + Send + 'static,
    mut saved: Vec<u8>,
    mut finished: oneshot::Receiver<()>,
) {
    let mut due = interval_at(Instant::now() + EVERY, EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        let last = tokio::select! {
            asked = &mut finished => match asked {
                Ok(()) => true,
                Err(_dropped) => return,
            },
            _ = due.tick() => false,
        };
        let bytes = learned();
        if bytes != saved {
            let done = save(file.clone(), bytes.clone()).await;
            // Told when it begins and in the end, not with every minute of a full disk.
            if let Err(error) = &done
                && (last || !failing)
            {
                warn!(
                    path = %file.path.display(),
                    error,
                    "what was learned of requests cannot be saved; all else goes on"
                );
            }
            failing = done.is_err();
            if !failing {
                saved = bytes;
            }
        }
        if last {
            return;
        }
    }
}

async fn save(file: LearnedFile, bytes: Vec<u8>) -> Result<(), String> {
    tokio::task::spawn_blocking(move || file.save(&bytes))
        .await
        .map_err(|panicked| panicked.to_string())?
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::tests::{learned, saved};
    use super::*;

    /// A keeper of what is known after as many calls as it is told.
    fn keeper(dir: &tempfile::TempDir) -> (LearnedFile, Arc<AtomicU64>, Keeper) {
        let file = LearnedFile::new(dir.path());
        let calls = Arc::new(AtomicU64::new(0));
        let known = Arc::clone(&calls);
        let keeper = Keeper::start(file.clone(), move || learned(known.load(Ordering::Relaxed)));
        (file, calls, keeper)
    }

    /// Waits until a minute is over, and what it brings is done.
    async fn a_minute() {
        tokio::time::sleep(EVERY + Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_saves_once_a_minute_while_something_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (file, calls, keeper) = keeper(&dir);
        a_minute().await;
        assert!(!file.path.exists(), "nothing was learned");
        for count in [3, 7] {
            calls.store(count, Ordering::Relaxed);
            a_minute().await;
            assert_eq!(saved(&file.open()), learned(count));
        }
        std::fs::remove_file(&file.path).unwrap();
        a_minute().await;
        assert!(!file.path.exists(), "nothing has changed");
        keeper.finish().await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_saves_in_the_end_but_not_when_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let (file, calls, dropped) = keeper(&dir);
        calls.store(3, Ordering::Relaxed);
        drop(dropped);
        a_minute().await;
        assert!(!file.path.exists());
        let (file, calls, finished) = keeper(&dir);
        calls.store(3, Ordering::Relaxed);
        finished.finish().await;
        assert_eq!(saved(&file.open()), learned(3));
    }

    #[tokio::test(start_paused = true)]
    async fn it_tries_again_what_could_not_be_saved() {
        let dir = tempfile::tempdir().unwrap();
        let (file, calls, keeper) = keeper(&dir);
        let in_the_way = dir.path().join("learned.tmp");
        std::fs::create_dir(&in_the_way).unwrap();
        calls.store(3, Ordering::Relaxed);
        a_minute().await;
        assert!(!file.path.exists());
        std::fs::remove_dir(&in_the_way).unwrap();
        a_minute().await;
        assert_eq!(saved(&file.open()), learned(3));
        keeper.finish().await;
    }
}
