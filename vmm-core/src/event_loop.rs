//! One thread per VM (`vmio`) that serves its devices' eventfds and streams, and can be held still.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use tracing::error;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::lifecycle::{Lifecycle, StopReason};

/// A device as the event loop sees it.
pub(crate) type SharedSubscriber = Arc<Mutex<dyn MutEventSubscriber + Send>>;

/// The thread. Dropping it ends and joins it.
#[derive(Debug)]
pub(crate) struct EventLoop {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Guards what the owner wants and where the thread is.
    phase: Mutex<Phase>,
    changed: Condvar,
    control: EventFd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// The owner wants the thread to hold still.
    Holding,
    /// It does: no device is being served.
    Held,
    /// The owner wants the thread to end.
    Ending,
    /// It has: there is nothing to hold still any more.
    Ended,
}

impl EventLoop {
    /// Starts the thread; it serves `subscribers` at once.
    pub(crate) fn spawn(
        subscribers: Vec<SharedSubscriber>,
        lifecycle: Arc<Lifecycle>,
    ) -> Result<Self, EventLoopError> {
        let control = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        let shared = Arc::new(Shared {
            phase: Mutex::new(Phase::Serving),
            changed: Condvar::new(),
            control,
        });
        let mut manager = EventManager::<SharedSubscriber>::new().map_err(EventLoopError::Epoll)?;
        manager.add_subscriber(Arc::new(Mutex::new(Control(Arc::clone(&shared)))));
        for subscriber in subscribers {
            manager.add_subscriber(subscriber);
        }
        let thread = std::thread::Builder::new().name("vmio".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                let serve = AssertUnwindSafe(|| shared.serve(&mut manager));
                let served = catch_unwind(serve);
                *shared.lock() = Phase::Ended;
                shared.changed.notify_all();
                if !matches!(served, Ok(Ok(()))) {
                    error!("the device event loop failed; the VM stops");
                    lifecycle.stop(StopReason::DeviceFailed).tell();
                }
            }
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Waits until no device is being served, and keeps it so until [`resume`](Self::resume).
    pub(crate) fn hold(&self) {
        let mut phase = self.shared.lock();
        if *phase == Phase::Serving {
            *phase = Phase::Holding;
            self.shared.wake();
        }
        while *phase == Phase::Holding {
            phase = self
                .shared
                .changed
                .wait(phase)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Serves devices again.
    pub(crate) fn resume(&self) {
        let mut phase = self.shared.lock();
        if matches!(*phase, Phase::Held | Phase::Holding) {
            *phase = Phase::Serving;
            self.shared.changed.notify_all();
        }
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        let mut phase = self.shared.lock();
        if *phase != Phase::Ended {
            *phase = Phase::Ending;
        }
        drop(phase);
        self.shared.changed.notify_all();
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            // It only fails when the thread panicked, which the panic hook has reported.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn serve(&self, manager: &mut EventManager<SharedSubscriber>) -> Result<(), event_manager::Error> {
        while *self.lock() != Phase::Ending {
            manager.run()?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // It can only fail on a saturated counter, and then the thread is awake.
        let _ = self.control.write(1);
    }
}

/// Runs on the thread: holds it still while the owner wants that.
struct Control(Arc<Shared>);

impl MutEventSubscriber for Control {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Err(error) = ops.add(Events::new(&self.0.control, EventSet::IN)) {
            error!(?error, "cannot watch the event loop's own eventfd");
        }
    }

    fn process(&mut self, _: Events, _: &mut EventOps<'_>) {
        // Already read by an earlier wake is fine.
        let _ = self.0.control.read();
        let mut phase = self.0.lock();
        while matches!(*phase, Phase::Holding | Phase::Held) {
            *phase = Phase::Held;
            self.0.changed.notify_all();
            phase = self.0.changed.wait(phase).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The event loop could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventLoopError {
    /// No epoll instance.
    #[error("create the device event loop")]
    Epoll(#[source] event_manager::Error),
    /// No eventfd or no thread.
    #[error("start the device event loop")]
    Start(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Counter {
        doorbell: EventFd,
        rung: mpsc::Sender<u64>,
    }

    impl MutEventSubscriber for Counter {
        fn init(&mut self, ops: &mut EventOps<'_>) {
            ops.add(Events::new(&self.doorbell, EventSet::IN)).unwrap();
        }
        fn process(&mut self, _: Events, _: &mut EventOps<'_>) {
            self.rung.send(self.doorbell.read().unwrap()).unwrap();
        }
    }

    #[test]
    fn nothing_is_served_while_held_and_all_of_it_afterwards() {
        let doorbell = EventFd::new(EFD_NONBLOCK).unwrap();
        let (rung, served) = mpsc::channel();
        let counter = Counter {
            doorbell: doorbell.try_clone().unwrap(),
            rung,
        };
        let event_loop =
            EventLoop::spawn(vec![Arc::new(Mutex::new(counter))], Arc::new(Lifecycle::new())).unwrap();
        doorbell.write(1).unwrap();
        assert_eq!(served.recv().unwrap(), 1);
        event_loop.hold();
        doorbell.write(2).unwrap();
        doorbell.write(3).unwrap();
        assert!(served.try_recv().is_err());
        event_loop.resume();
        assert_eq!(served.recv().unwrap(), 5);
    }

    #[test]
    fn a_held_loop_can_be_dropped() {
        let event_loop = EventLoop::spawn(Vec::new(), Arc::new(Lifecycle::new())).unwrap();
        event_loop.hold();
        drop(event_loop);
    }

    struct Bomb(EventFd);

    impl MutEventSubscriber for Bomb {
        fn init(&mut self, ops: &mut EventOps<'_>) {
            ops.add(Events::new(&self.0, EventSet::IN)).unwrap();
        }
        fn process(&mut self, _: Events, _: &mut EventOps<'_>) {
            panic!("a device with a bug");
        }
    }

    #[test]
    fn a_device_that_panics_stops_the_vm_and_blocks_nobody() {
        let doorbell = EventFd::new(EFD_NONBLOCK).unwrap();
        let lifecycle = Arc::new(Lifecycle::new());
        let (heard, reasons) = mpsc::channel();
        lifecycle.on_stop(Box::new(move |reason| heard.send(reason).unwrap()));
        let bomb = Arc::new(Mutex::new(Bomb(doorbell.try_clone().unwrap())));
        let event_loop = EventLoop::spawn(vec![bomb], lifecycle).unwrap();
        doorbell.write(1).unwrap();
        assert_eq!(reasons.recv().unwrap(), StopReason::DeviceFailed);
        event_loop.hold();
        event_loop.resume();
    }
}
