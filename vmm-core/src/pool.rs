//! A stock of shells: made ahead, and used VMs destroyed, both on a thread of its own.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{debug, warn};

use crate::config::VmConfig;
use crate::hypervisor::Hypervisor;
use crate::shell::{Shell, ShellError, Template};
use crate::vm::Vm;

/// Longest pause between two attempts to make a shell while they fail.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Keeps `target` shells of one shape ready.
///
/// [`take`](Self::take) and [`retire`](Self::retire) never block on KVM: making and destroying VMs is done by the pool's
/// thread, one at a time. A shell costs about 0.6 MB of host memory, what its
/// template touches, and two threads.
#[derive(Debug)]
pub struct ShellPool {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Fewer shells are ready than were waited for.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NotReady {
    /// The last one could not be made; the pool goes on trying.
    #[error("make a shell for the pool")]
    Failed(#[source] Arc<ShellError>),
    /// It takes longer.
    #[error("{ready} of {wanted} shells are ready after {} ms", .timeout.as_millis())]
    TimedOut {
        /// Shells ready.
        ready: usize,
        /// Shells waited for.
        wanted: usize,
        /// How long was waited.
        timeout: Duration,
    },
}

#[derive(Debug)]
struct Shared {
    /// Guards the stock; held for a push or a pop only.
    stock: Mutex<Stock>,
    changed: Condvar,
}

#[derive(Debug)]
struct Stock {
    ready: VecDeque<Shell>,
    retired: Vec<Vm>,
    target: usize,
    template: Option<Template>,
    /// Counts templates, so that a shell begun for the last one is not kept for the next.
    template_epoch: u64,
    last_error: Option<Arc<ShellError>>,
    failures: u64,
    ending: bool,
}

enum Chore {
    Make(Option<Template>, u64),
    Destroy(Vec<Vm>),
    End,
}

impl ShellPool {
    /// Starts a pool that keeps `target` shells of `config`'s shape; they are made in the background.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn new(hypervisor: Arc<Hypervisor>, config: VmConfig, target: usize) -> io::Result<Self> {
        let stock = Stock {
            ready: VecDeque::new(),
            retired: Vec::new(),
            target,
            template: None,
            template_epoch: 0,
            last_error: None,
            failures: 0,
            ending: false,
        };
        let shared = Arc::new(Shared {
            stock: Mutex::new(stock),
            changed: Condvar::new(),
        });
        let thread = std::thread::Builder::new().name("shells".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.serve(&hypervisor, &config)
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Makes later shells from `template` (see [`Shell::new`]) and replaces the ones in stock.
    pub fn set_template(&self, template: Template) {
        let mut stock = self.shared.lock();
        stock.template = Some(template);
        stock.template_epoch += 1;
        let outdated = std::mem::take(&mut stock.ready);
        drop(stock);
        self.shared.changed.notify_all();
        drop(outdated);
    }

    /// A shell, if one is ready; the pool then makes another. `None` means that demand outran the pool: make one with
    /// [`Shell::new`], or wait with [`wait_ready`](Self::wait_ready).
    #[must_use]
    pub fn take(&self) -> Option<Shell> {
        let shell = self.shared.lock().ready.pop_front();
        self.shared.changed.notify_all();
        shell
    }

    /// Destroys `vm` in the background.
    pub fn retire(&self, vm: Vm) {
        self.shared.lock().retired.push(vm);
        self.shared.changed.notify_all();
    }

    /// Shells ready now.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.shared.lock().ready.len()
    }

    /// Waits until `count` shells (at most the target) are ready. Blocks the thread.
    ///
    /// # Errors
    /// Fewer were ready when `timeout` had passed, or making one failed since the pool last made one. Those that are ready can
    /// be taken all the same.
    pub fn wait_ready(&self, count: usize, timeout: Duration) -> Result<(), NotReady> {
        let stock = self.shared.lock();
        let wanted = count.min(stock.target);
        let waiting = |stock: &mut Stock| stock.ready.len() < wanted && stock.last_error.is_none();
        let (stock, _) = self
            .shared
            .changed
            .wait_timeout_while(stock, timeout, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        let ready = stock.ready.len();
        match &stock.last_error {
            _ if ready >= wanted => Ok(()),
            Some(error) => Err(NotReady::Failed(Arc::clone(error))),
            None => Err(NotReady::TimedOut {
                ready,
                wanted,
                timeout,
            }),
        }
    }
}

impl Drop for ShellPool {
    fn drop(&mut self) {
        self.shared.lock().ending = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It only fails when the thread panicked, which the panic hook has reported.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, hypervisor: &Hypervisor, config: &VmConfig) {
        loop {
            match self.next_chore() {
                Chore::Make(template, epoch) => {
                    let made = Shell::new(hypervisor, config, template.as_ref());
                    self.put(made, epoch);
                }
                Chore::Destroy(retired) => {
                    debug!(count = retired.len(), "destroying used VMs");
                    drop(retired);
                }
                Chore::End => return,
            }
        }
    }

    fn next_chore(&self) -> Chore {
        let mut stock = self.lock();
        loop {
            if stock.ending {
                return Chore::End;
            }
            let short = stock.ready.len() < stock.target;
            // Shells first: somebody may be about to need one, and nobody waits for a destruction. But when none can be
            // made, what is missing may be just what used VMs hold; and when demand never ends, used VMs must not pile up.
            let piling_up = stock.retired.len() > stock.target;
            if !stock.retired.is_empty() && (!short || stock.failures > 0 || piling_up) {
                return Chore::Destroy(std::mem::take(&mut stock.retired));
            }
            if short {
                return Chore::Make(stock.template.clone(), stock.template_epoch);
            }
            stock = self.changed.wait(stock).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn put(&self, made: Result<Shell, ShellError>, epoch: u64) {
        let mut stock = self.lock();
        match made {
            Ok(shell) if epoch == stock.template_epoch => {
                stock.ready.push_back(shell);
                stock.last_error = None;
                stock.failures = 0;
            }
            Ok(outdated) => {
                drop(stock);
                drop(outdated);
                return;
            }
            Err(error) => {
                stock.failures += 1;
                // With its causes, and not as often as it happens while something is short.
                if stock.failures.is_power_of_two() {
                    warn!(
                        error = &error as &(dyn std::error::Error + 'static),
                        failures = stock.failures,
                        "cannot make a shell; if open files have run out, raise `ulimit -n`"
                    );
                }
                stock.last_error = Some(Arc::new(error));
                self.changed.notify_all();
                let backoff = MAX_BACKOFF.min(Duration::from_millis(10 << stock.failures.min(7)));
                let idle = |stock: &mut Stock| !stock.ending && stock.retired.is_empty();
                let (stock, _) = self
                    .changed
                    .wait_timeout_while(stock, backoff, idle)
                    .unwrap_or_else(PoisonError::into_inner);
                drop(stock);
                return;
            }
        }
        drop(stock);
        self.changed.notify_all();
    }
}
