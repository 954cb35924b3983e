//! A host and a gate that do as they are told and write down what they were asked.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use scheduler::InstanceId;
use tokio::sync::{oneshot, watch};

use crate::controller::{ClosedGate, ParkGate};
use crate::host::{Fate, GuestLink, HostError, InstanceHost, ParkMode, Parked, Started, Verdict};

/// What every fake instance answers.
pub(super) const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes";

/// How the next call of a kind goes; those that nobody planned go well.
pub(super) enum Plan {
    Fails(&'static str),
    /// Fails for want of something, and leaves the instance as it was.
    Lacks(&'static str),
    /// Parking only: the instance is not quiet, and parked only as it is.
    Busy,
    /// Goes well, or badly if the sender is dropped, once it is told.
    Waits(mpsc::Receiver<()>),
    /// Parking only: the instance is not quiet, once it is told.
    WaitsBusy(mpsc::Receiver<()>),
    Panics,
}

/// Host and gate of one service.
pub(super) struct Fake {
    log: watch::Sender<Vec<String>>,
    pub(super) restores: Mutex<VecDeque<Plan>>,
    pub(super) boots: Mutex<VecDeque<Plan>>,
    pub(super) parks: Mutex<VecDeque<Plan>>,
    /// How long ago something happened at the gate, for each refusal to close it.
    pub(super) refusals: Mutex<VecDeque<Duration>>,
    pub(super) give_ups: Mutex<VecDeque<Plan>>,
    pub(super) asides: Mutex<VecDeque<Plan>>,
    pub(super) awake: Mutex<HashMap<InstanceId, oneshot::Sender<String>>>,
    /// One that is in the hands of who parks it.
    parking: Mutex<Option<(InstanceId, oneshot::Sender<String>)>>,
    /// Parks go well even if the instance dies meanwhile.
    pub(super) parks_the_dead: AtomicBool,
    /// Instances that are started take what comes and say nothing.
    pub(super) silent: AtomicBool,
    /// Instances with a command under way.
    commanded: Mutex<HashSet<InstanceId>>,
}

/// The way to a fake instance, which its `Debug` names.
struct Link {
    instance: InstanceId,
    silent: bool,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "to {}", self.instance)
    }
}

impl GuestLink for Link {
    fn connect(&self) -> io::Result<UnixStream> {
        let (ours, mut theirs) = UnixStream::pair()?;
        let silent = self.silent;
        // Ends with the connection.
        std::thread::spawn(move || {
            while let Ok(1..) = theirs.read(&mut [0; 4096]) {
                if !silent {
                    theirs.write_all(ANSWER.as_bytes())?;
                }
            }
            Ok::<_, io::Error>(())
        });
        Ok(ours)
    }
}

impl Fake {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            log: watch::Sender::new(Vec::new()),
            restores: Mutex::default(),
            boots: Mutex::default(),
            parks: Mutex::default(),
            refusals: Mutex::default(),
            give_ups: Mutex::default(),
            asides: Mutex::default(),
            awake: Mutex::default(),
            parking: Mutex::default(),
            parks_the_dead: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            commanded: Mutex::default(),
        })
    }

    pub(super) fn note(&self, entry: impl Into<String>) {
        self.log.send_modify(|log| log.push(entry.into()));
    }

    pub(super) fn log(&self) -> watch::Receiver<Vec<String>> {
        self.log.subscribe()
    }

    /// The instance that is awake dies, if one is.
    pub(super) fn die(&self, reason: &str) {
        let mut awake = self.awake.lock().unwrap();
        let instance = awake.keys().next().copied();
        let death = match instance {
            Some(instance) => awake.remove(&instance),
            None => self.parking.lock().unwrap().take().map(|(_, death)| death),
        };
        if let Some(death) = death {
            // The controller may have stopped listening.
            let _ = death.send(reason.to_owned());
        }
    }

    /// Does what is planned for a command, of which an instance has one at a time.
    fn command(
        &self,
        what: &'static str,
        instance: InstanceId,
        plan: &Mutex<VecDeque<Plan>>,
    ) -> Result<bool, HostError> {
        self.note(format!("{what} {instance}"));
        assert!(
            self.commanded.lock().unwrap().insert(instance),
            "{what} {instance} while another command is under way"
        );
        let plan = plan.lock().unwrap().pop_front();
        let fail = |cause: &str| HostError {
            what,
            instance,
            fate: Fate::Lost,
            source: cause.into(),
        };
        let done = match plan {
            None => Ok(true),
            Some(Plan::Busy) => Ok(false),
            Some(Plan::Fails(cause)) => Err(fail(cause)),
            Some(Plan::Lacks(cause)) => Err(fail(cause).kept()),
            Some(Plan::Waits(word)) => word
                .recv()
                .map(|()| true)
                .map_err(|_| fail("nobody let it go on")),
            Some(Plan::WaitsBusy(word)) => word
                .recv()
                .map(|()| false)
                .map_err(|_| fail("nobody let it go on")),
            Some(Plan::Panics) => panic!("as planned"),
        };
        self.commanded.lock().unwrap().remove(&instance);
        done
    }

    fn start(&self, instance: InstanceId) -> Started {
        let (death, died) = oneshot::channel();
        let mut awake = self.awake.lock().unwrap();
        awake.insert(instance, death);
        assert!(awake.len() == 1, "{:?} are awake", awake.keys());
        Started {
            link: Arc::new(Link {
                instance,
                silent: self.silent.load(Ordering::Relaxed),
            }),
            died,
            load: Duration::ZERO,
            restore: Duration::ZERO,
        }
    }
}

impl InstanceHost for Fake {
    fn restore(&self, instance: InstanceId) -> Result<Started, HostError> {
        self.command("restore", instance, &self.restores)?;
        Ok(self.start(instance))
    }

    fn boot(&self, instance: InstanceId) -> Result<Started, HostError> {
        self.command("boot", instance, &self.boots)?;
        Ok(self.start(instance))
    }

    fn park(&self, instance: InstanceId, mode: ParkMode) -> Result<Parked, HostError> {
        let death = self.awake.lock().unwrap().remove(&instance);
        *self.parking.lock().unwrap() = death.map(|death| (instance, death));
        let quiet = self.command("park", instance, &self.parks);
        let alive = self.parking.lock().unwrap().take();
        let quiet = quiet?;
        if !quiet && mode == ParkMode::IfQuiet {
            self.awake.lock().unwrap().extend(alive);
            return Ok(Parked::Busy);
        }
        let asleep = Parked::Asleep {
            written_bytes: 1,
            saved_bytes: 2,
            midway: !quiet,
        };
        let dead = || HostError {
            what: "park",
            instance,
            fate: Fate::Lost,
            source: "it is dead".into(),
        };
        if alive.is_some() || self.parks_the_dead.load(Ordering::Relaxed) {
            return Ok(asleep);
        }
        Err(dead())
    }

    fn stop(&self, instance: InstanceId) {
        self.note(format!("stop {instance}"));
        self.awake.lock().unwrap().remove(&instance);
    }

    fn give_up(&self, instance: InstanceId, verdict: Verdict) {
        self.note(format!("give up {instance}: {verdict:?}"));
        self.awake.lock().unwrap().remove(&instance);
        if let Some(Plan::Panics) = self.give_ups.lock().unwrap().pop_front() {
            panic!("as planned");
        }
    }

    fn put_aside(&self) {
        let plan = self.asides.lock().unwrap().pop_front();
        if let Some(Plan::Waits(word)) = plan {
            self.note("put aside");
            word.recv().unwrap();
            self.note("put it aside");
        }
    }

    fn shut_down(&self) -> Result<usize, HostError> {
        self.awake.lock().unwrap().clear();
        Ok(0)
    }
}

/// The gate of a fake.
pub(super) struct FakeGate(pub(super) Arc<Fake>);

impl ParkGate for FakeGate {
    fn close(&self, _: Duration) -> Result<Box<dyn ClosedGate>, Duration> {
        if let Some(age) = self.0.refusals.lock().unwrap().pop_front() {
            self.0.note("refuse");
            return Err(age);
        }
        self.0.note("close");
        Ok(Box::new(FakeClosed {
            fake: Arc::clone(&self.0),
            asleep: false,
        }))
    }

    fn lost(&self, reason: &str) {
        self.0.note(format!("lost: {reason}"));
    }
}

struct FakeClosed {
    fake: Arc<Fake>,
    asleep: bool,
}

impl ClosedGate for FakeClosed {
    fn asleep(mut self: Box<Self>) {
        self.asleep = true;
    }
}

impl Drop for FakeClosed {
    fn drop(&mut self) {
        self.fake.note(if self.asleep { "asleep" } else { "open" });
    }
}
