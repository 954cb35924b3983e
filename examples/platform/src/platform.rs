//! A running platform: one service behind one listener, from the first byte to the sleeping guest and back.

use std::fs::{File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proxy_buffer::{
    DrainReport, InvalidLimits, Limits, Protocol, Proxy, TargetHandle, TcpOptions, http1_refusal,
};
use rustix::process::{Resource, getrlimit};
use scheduler::{Problem, QueueConfig, ServiceConfig, ServiceId, StartConfig, StartSource};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use vmm_core::{BootError, Hypervisor, NotReady, UserNetConfig, VmConfig};

use crate::causes::causes;
use crate::config::{Config, ConfigError};
use crate::controller::{Controller, ServiceSetup, ServiceStatus};
use crate::front::{ServiceActivator, ServiceObserver, TargetGate};
use crate::guest_stream::Doors;
use crate::host::{HostError, InstanceHost};
use crate::kernel_file::{self, KernelFileError};
use crate::micro_vm::{MicroVmHost, MicroVmOptions, TemplateError};
use crate::phases::WakePhases;
use crate::scratch::Scratch;

const SERVICE: ServiceId = ServiceId(1);
/// As many as the proxy lets in by default, and the most that a link takes: nobody is let in and then refused.
const LINK_CONNECTIONS: usize = 16 * 1024;
/// How long [`Platform::start`] waits for the stock of shells.
const SHELLS_TIMEOUT: Duration = Duration::from_secs(10);
/// It says so often how many there are.
const SHELLS_STEP: Duration = Duration::from_secs(1);
/// What connecting may take beside the wait for others.
const CONNECT_MARGIN: Duration = Duration::from_secs(5);
/// What a start may take beside the time that the guest has for booting.
const BOOT_MARGIN: Duration = Duration::from_secs(5);

/// The platform could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Its configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration does not fit the scheduler.
    #[error("configuration: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Scaling(Vec<Problem>),
    /// The configuration does not fit the proxy.
    #[error("configuration")]
    Limits(#[from] InvalidLimits),
    /// KVM cannot be used.
    #[error(transparent)]
    Hypervisor(#[from] vmm_core::OpenError),
    /// The configured kernel is of no use.
    #[error(transparent)]
    KernelFile(#[from] KernelFileError),
    /// The guest does not come to serve.
    #[error("boot {guest}")]
    Guest {
        /// Which one.
        guest: String,
        /// Why not.
        #[source]
        source: TemplateError,
    },
    /// A directory or file of the platform's own could not be made.
    #[error("{what} {}", .path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The state directory is another platform's.
    #[error("state directory {} is in use by another platform: end that one, or name another --state-dir", .dir.display())]
    StateDir {
        /// The directory.
        dir: PathBuf,
    },
    /// There is no place for a directory of this run's own.
    #[error("create a directory in {} (TMPDIR names another place for it, --state-dir a lasting one)", .dir.display())]
    TemporaryDir {
        /// Where it was to be.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The service's snapshot could not be made.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// No shells could be made.
    #[error("make VMs ahead")]
    Shells(#[source] NotReady),
    /// The address could not be listened on.
    #[error("listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A task of ours panicked, which it has reported.
    #[error("start the platform: a task panicked")]
    Panicked,
}

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
    _keeper: Option<Keeper>,
}

/// Holds the directory of the snapshots for as long as the platform lives.
enum Keeper {
    /// The configured one, locked against another platform.
    Lock(#[expect(dead_code, reason = "held for its lock")] File),
    /// One of its own, removed in the end.
    Scratch(#[expect(dead_code, reason = "held for its removal")] Scratch),
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
        let (options, keeper) = host_options(&config)?;
        let guest = config.kernel.clone();
        let calling_off = CancellationToken::new();
        let _called_off = calling_off.clone().drop_guard();
        let host = tokio::task::spawn_blocking(move || {
            told(StartStep::Checked);
            let host = MicroVmHost::new(hypervisor, options).map_err(|error| boot_error(guest, error))?;
            wait_shells(&host, &told, &calling_off)?;
            Ok::<_, StartError>(host)
        })
        .await
        .map_err(|_| StartError::Panicked)??;
        let boot_time = host.boot_time();
        let mut platform = Self::join(config, listener, Arc::new(host))?;
        platform.boot_time = boot_time;
        platform._keeper = Some(keeper);
        Ok(platform)
    }

    /// Serves instances that live in `host`, whatever they are. Of `config` counts what is not about micro-VMs and their state.
    ///
    /// # Errors
    /// The configuration cannot be used, or the address not listened on.
    pub async fn with_host(config: Config, host: Arc<dyn InstanceHost>) -> Result<Self, StartError> {
        config.validate()?;
        let listener = listen(&config).await?;
        Self::join(config, listener, host)
    }

    fn join(
        config: Config,
        (listener, addr): (TcpListener, SocketAddr),
        host: Arc<dyn InstanceHost>,
    ) -> Result<Self, StartError> {
        let scaling = scaling(&config).validate().map_err(StartError::Scaling)?;
        let mut setup = ServiceSetup::new(SERVICE, scaling, Arc::clone(&host));
        setup.unattended = config.unattended();
        let controller = Controller::new(vec![setup]);
        let timer = tokio::spawn(Arc::clone(&controller).run());

        let activator = ServiceActivator {
            controller: Arc::clone(&controller),
            doors: Doors::new(config.guest_connections, config.max_held, config.hold()),
        };
        let observer = ServiceObserver {
            controller: Arc::clone(&controller),
        };
        let proxy = Proxy::new(limits(&config), activator, observer)?;
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
            _keeper: None,
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

/// An error of the first boot, with the kernel that it is about.
fn boot_error(kernel: Option<PathBuf>, source: TemplateError) -> StartError {
    let contract = match &source {
        TemplateError::Boot(BootError::Kernel(_)) => "; docs/guest-abi.md says what a kernel must be",
        TemplateError::NotServing { .. } => "",
        _ => return source.into(),
    };
    let guest = match kernel {
        Some(path) => format!("kernel {}{contract}", path.display()),
        None => "the built-in guest".to_owned(),
    };
    StartError::Guest { guest, source }
}

fn limits(config: &Config) -> Limits {
    Limits {
        held_connections: config.max_held,
        hold_time: config.hold(),
        // The doors of the guest open earlier, or say why not.
        connect_time: config.hold() + CONNECT_MARGIN,
        request_time: config.request(),
        answer_time: config.answer(),
        connections_total: connections_total(),
        ..Limits::default()
    }
}

/// As many connections as there are descriptors for: one for the client and two for the guest's stream each, beside what is
/// kept for instances and for refusing clients.
fn connections_total() -> usize {
    const RESERVE: u64 = 128;
    let Some(descriptors) = getrlimit(Resource::Nofile).current else {
        return Limits::default().connections_total;
    };
    // Of few descriptors, half are kept.
    let spare = descriptors.saturating_sub(RESERVE.min(descriptors / 2));
    let connections = usize::try_from(spare / 3).unwrap_or(usize::MAX).max(1);
    let connections = connections.min(Limits::default().connections_total);
    info!(
        descriptors,
        connections, "the descriptors bound the client connections open at a time"
    );
    connections
}

fn scaling(config: &Config) -> ServiceConfig {
    ServiceConfig {
        cooldown: Some(config.cooldown()),
        start_from: StartSource::Snapshot,
        queue: QueueConfig {
            max_wait: config.hold(),
            ..QueueConfig::default()
        },
        start: StartConfig {
            timeout: config.boot() + BOOT_MARGIN,
            ..StartConfig::default()
        },
        ..ServiceConfig::default()
    }
}

fn host_options(config: &Config) -> Result<(MicroVmOptions, Keeper), StartError> {
    let file = |what, path: &PathBuf| {
        let path = path.clone();
        move |source| StartError::File { what, path, source }
    };
    let kernel: Arc<[u8]> = match &config.kernel {
        Some(path) => kernel_file::read(path)?,
        None => guest::ELF.into(),
    };
    let (dir, keeper) = match &config.state_dir {
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(file("create state directory", dir))?;
            let path = dir.join("lock");
            let lock = File::create(&path).map_err(file("create", &path))?;
            lock.try_lock().map_err(|error| match error {
                TryLockError::WouldBlock => StartError::StateDir { dir: dir.clone() },
                TryLockError::Error(source) => file("lock", &path)(source),
            })?;
            // Those whose writers live are locked and stay. Leftovers only take room.
            if let Err(error) = snapshot::clean_stale(dir) {
                warn!(dir = %dir.display(), error = causes(&error), "half-written snapshots of an earlier run stay");
            }
            (dir.clone(), Keeper::Lock(lock))
        }
        None => {
            let scratch = Scratch::new().map_err(|source| StartError::TemporaryDir {
                dir: std::env::temp_dir(),
                source,
            })?;
            (scratch.path().to_owned(), Keeper::Scratch(scratch))
        }
    };
    let net = UserNetConfig::default()
        .spare(config.guest_port, config.spare_connections)
        .max_connections(LINK_CONNECTIONS);
    let vm = VmConfig::default()
        .memory_bytes(config.memory_mib << 20)
        .cmdline(config.cmdline.clone())
        .net(Some(net));
    let options = MicroVmOptions {
        vm,
        kernel,
        port: config.guest_port,
        shells: config.shells,
        boot_timeout: config.boot(),
        dir,
        keep: config.state_dir.is_some(),
    };
    Ok((options, keeper))
}
