//! A running platform: one service behind one listener, from the first byte to the sleeping guest and back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proxy_buffer::{DrainReport, Protocol, Proxy, TargetHandle, TcpOptions, http1_refusal};
use scheduler::{LearnedSki, ServiceId};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use vmm_core::{Hypervisor, NotReady};

use crate::config::Config;
use crate::controller::{Controller, ServiceSetup, ServiceStatus};
use crate::front::{ServiceActivator, ServiceObserver, TargetGate};
use crate::guest_stream::Doors;
use crate::host::{HostError, InstanceHost};
use crate::learned::{Keeper, LearnedFile};
use crate::micro_vm::MicroVmHost;
use crate::parts;
use crate::phases::WakePhases;
use crate::start_error::StartError;
use crate::state_dir::StateDir;

const SERVICE: ServiceId = ServiceId(1);
/// How long [`Platform::start`] waits for the stock of shells.
const SHELLS_TIMEOUT: Duration = Duration::from_secs(10);
/// It says so often how many there are.
const SHELLS_STEP: Duration = Duration::from_secs(1);

/// How far [`Platform::start_telling`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartStep {
    /// What can be checked was found in order. The guest is booted, or its snapshot opened if there is one.
    Checked,
    /// VMs are being made ahead, which takes long if they are many. Told once a second.
    Shells {
        /// Those that are ready.
        ready: usize,
        /// As many as there will be.
        of: usize,
    },
}

/// What came of stopping.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Stopped {
    /// What became of the connections.
    pub connections: DrainReport,
    /// Instances whose state was kept.
    pub kept: usize,
}

/// A running platform. Call [`shut_down`](Self::shut_down) in the end; dropped without, it loses what was not kept.
pub struct Platform {
    config: Config,
    addr: SocketAddr,
    host: Arc<dyn InstanceHost>,
    boot_time: Duration,
    controller: Arc<Controller>,
    proxy: Proxy<ServiceActivator>,
    target: TargetHandle<ServiceActivator>,
    timer: JoinHandle<()>,
    /// Of what is learned, if that is to outlive the platform.
    keeper: Option<Keeper>,
    /// Held as long as it lives; another host's instances live elsewhere.
    _state_dir: Option<StateDir>,
}

impl Platform {
    /// Boots (or finds) the service's snapshot, makes shells, and serves. The instance sleeps until the first request.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_telling(config, |_| {}).await
    }

    /// [Starts](Self::start), and tells `told` how far it has come, for people who wait.
    ///
    /// # Errors
    /// See [`StartError`].
    ///
    /// # Cancel safety
    /// Dropping the future calls the start off; what is being made is thrown away beside the caller, within a second or so.
    pub async fn start_telling(
        config: Config,
        told: impl Fn(StartStep) + Send + 'static,
    ) -> Result<Self, StartError> {
        config.validate()?;
        let hypervisor = Arc::new(Hypervisor::open()?);
        // Before anything that takes long: a taken port is the commonest mistake.
        let listener = listen(&config).await?;
        let kernel = parts::kernel(&config)?;
        let state_dir = StateDir::open(config.state_dir.as_deref())?;
        let options = parts::host(&config, kernel, state_dir.path());
        let guest = config.kernel.clone();
        let calling_off = CancellationToken::new();
        let _called_off = calling_off.clone().drop_guard();
        let host = tokio::task::spawn_blocking(move || {
            told(StartStep::Checked);
            let host =
                MicroVmHost::new(hypervisor, options).map_err(|error| StartError::boot(guest, error))?;
            wait_shells(&host, &told, &calling_off)?;
            Ok::<_, StartError>(host)
        })
        .await
        .map_err(|_| StartError::Panicked)??;
        let boot_time = host.boot_time();
        let learned = parts::learned(&config);
        let mut platform = Self::join(config, listener, Arc::new(host), learned)?;
        platform.boot_time = boot_time;
        platform._state_dir = Some(state_dir);
        Ok(platform)
    }

    /// Serves instances that live in `host`, whatever they are. Of `config` counts what is not about micro-VMs and their state.
    ///
    /// # Errors
    /// The configuration cannot be used, or the address not listened on.
    pub async fn with_host(config: Config, host: Arc<dyn InstanceHost>) -> Result<Self, StartError> {
        config.validate()?;
        let listener = listen(&config).await?;
        Self::join(config, listener, host, None)
    }

    fn join(
        config: Config,
        (listener, addr): (TcpListener, SocketAddr),
        host: Arc<dyn InstanceHost>,
        learned: Option<LearnedFile>,
    ) -> Result<Self, StartError> {
        let scaling = parts::scaling(&config).validate().map_err(StartError::Scaling)?;
        let mut setup = ServiceSetup::new(SERVICE, scaling, Arc::clone(&host));
        setup.unattended = config.unattended();
        let known = learned.as_ref().map_or_else(LearnedSki::new, LearnedFile::open);
        let controller = Controller::with_learned(vec![setup], known);
        let keeper = learned.map(|file| {
            let controller = Arc::clone(&controller);
            Keeper::start(file, move || controller.learned())
        });
        let timer = tokio::spawn(Arc::clone(&controller).run());

        let activator = ServiceActivator {
            controller: Arc::clone(&controller),
            doors: Doors::new(config.guest_connections, config.max_held, config.hold()),
        };
        let observer = ServiceObserver {
            controller: Arc::clone(&controller),
        };
        let proxy = Proxy::new(parts::limits(&config), activator, observer)?;
        let target = proxy.target(SERVICE);
        controller.set_gate(SERVICE, Arc::new(TargetGate(target.clone())));
        let options = TcpOptions {
            protocol: Protocol::Http1,
            refusal: http1_refusal,
            ..TcpOptions::default()
        };
        proxy.serve(listener, &target, options);
        Ok(Self {
            config,
            addr,
            host,
            boot_time: Duration::ZERO,
            controller,
            proxy,
            target,
            timer,
            keeper,
            _state_dir: None,
        })
    }

    /// Where it listens; with the real port when the configuration said 0.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How long the guest took to boot; zero when its snapshot was found.
    #[must_use]
    pub const fn boot_time(&self) -> Duration {
        self.boot_time
    }

    /// What the service is doing, as it changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<ServiceStatus> {
        self.controller
            .status(SERVICE)
            .expect("the controller was made with this service")
    }

    /// Why the service is as it is.
    #[must_use]
    pub fn why(&self) -> String {
        self.controller.why(SERVICE).unwrap_or_default()
    }

    /// Why nothing starts, parks or stops at this moment, and what would change that.
    #[must_use]
    pub fn why_not(&self) -> String {
        self.controller.why_not(SERVICE).unwrap_or_default()
    }

    /// What wakes took so far, phase by phase.
    #[must_use]
    pub fn phases(&self) -> &WakePhases {
        self.controller
            .phases(SERVICE)
            .expect("the controller was made with this service")
    }

    /// Requests held at this moment.
    #[must_use]
    pub fn held(&self) -> usize {
        self.target.counters().waiters
    }

    /// The host of the instances.
    #[must_use]
    pub const fn host(&self) -> &Arc<dyn InstanceHost> {
        &self.host
    }

    /// Stops accepting, lets requests finish, puts the instance to sleep and keeps its state if configured.
    ///
    /// # Errors
    /// The state could not be kept.
    pub async fn shut_down(self) -> Result<Stopped, HostError> {
        let connections = self.proxy.drain(self.config.drain()).await;
        // A park under way has its instance in its hands, where the host would not find it.
        self.controller.settle().await;
        if let Some(keeper) = self.keeper {
            keeper.finish().await;
        }
        let host = self.host;
        let kept = tokio::task::spawn_blocking(move || host.shut_down()).await;
        self.controller.shut_down().await;
        // It ends with the controller; a panic in it has been reported.
        let _ = self.timer.await;
        match kept {
            Ok(kept) => Ok(Stopped {
                connections,
                kept: kept?,
            }),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

impl std::fmt::Debug for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Platform")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

/// Waits until the stock of shells is full, but not for ever: a wake without a shell makes one on its way, which is slower and no
/// reason not to serve.
fn wait_shells(
    host: &MicroVmHost,
    told: &impl Fn(StartStep),
    calling_off: &CancellationToken,
) -> Result<(), StartError> {
    let deadline = Instant::now() + SHELLS_TIMEOUT;
    loop {
        match host.wait_shells(SHELLS_STEP) {
            Err(NotReady::TimedOut { ready, wanted, .. }) => {
                if calling_off.is_cancelled() {
                    return Ok(());
                }
                if Instant::now() >= deadline {
                    warn!(
                        ready,
                        wanted, "starting with fewer VMs made ahead; the others follow"
                    );
                    return Ok(());
                }
                told(StartStep::Shells { ready, of: wanted });
            }
            waited => return waited.map_err(StartError::Shells),
        }
    }
}

async fn listen(config: &Config) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen {
        addr: config.listen,
        source,
    };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, addr))
}
