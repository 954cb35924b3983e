//! The host: one service's instances, asleep or awake, and the stock of shells they wake into.

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use scheduler::InstanceId;
use snapshot::RamImage;
use tokio::sync::oneshot;
use tracing::{debug, info, warn};
use vmm_core::{
    DetachedStreams, GenerationId, Hypervisor, NotReady, Restore, Shell, ShellPool, Vm, VmConfig,
};

use super::ended::Ended;
use super::kept;
use super::link::GuestPort;
use super::parked::{Origin, ParkedVm, SavedMemory, mappable, ranges, worth_having_ahead};
use super::template::{Template, TemplateError, boot_until_serving};
use crate::aside::rename_aside;
use crate::causes::causes;
use crate::host::{HostError, InstanceHost, ParkMode, Parked, Started, Verdict};

pub(super) const TEMPLATE_FILE: &str = "template.snapshot";

pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// What a [`MicroVmHost`] runs.
#[derive(Debug, Clone)]
pub struct MicroVmOptions {
    /// Shape and devices of the VMs. Needs a network link.
    pub vm: VmConfig,
    /// The ELF image.
    pub kernel: Arc<[u8]>,
    /// The guest's TCP port.
    pub port: u16,
    /// VMs made ahead.
    pub shells: usize,
    /// Longest time from the guest's first instruction to its word that it serves.
    pub boot_timeout: Duration,
    /// Where the service's snapshot is, and the instance's between two runs of the platform.
    pub dir: PathBuf,
    /// Whether an instance's state outlives the platform.
    pub keep: bool,
}

/// Instances of one service as micro-VMs in this process.
#[derive(Debug)]
pub struct MicroVmHost {
    pub(super) hypervisor: Arc<Hypervisor>,
    pub(super) options: MicroVmOptions,
    /// Guards the reference alone. `None` after it was put aside: the next boot makes a new one.
    template: Mutex<Option<Arc<Template>>>,
    boot_time: Duration,
    pub(super) pool: ShellPool,
    /// What the pool's shells are made from. Guards that alone; nothing else is locked meanwhile but the pool's stock.
    shape: Mutex<vmm_core::Template>,
    /// Guards the table alone: an instance is taken out to be worked on.
    instances: Mutex<HashMap<InstanceId, Instance>>,
    /// An instance of an earlier run of the platform, for the first start.
    kept: Mutex<Option<ParkedVm>>,
    pub(super) ended: Ended,
}

#[derive(Debug)]
pub(super) enum Instance {
    Awake(Awake),
    Asleep(ParkedVm),
}

#[derive(Debug)]
pub(super) struct Awake {
    pub(super) vm: Vm,
    /// What the VM's memory is mapped from; `None` when it was copied, or the VM booted.
    pub(super) image: Option<RamImage>,
    pub(super) wakes: u32,
    pub(super) origin: Origin,
}

impl MicroVmHost {
    /// Opens the service's snapshot, or boots the guest and makes it, and fills the stock of shells.
    ///
    /// # Errors
    /// See [`TemplateError`].
    pub fn new(hypervisor: Arc<Hypervisor>, options: MicroVmOptions) -> Result<Self, TemplateError> {
        let path = options.dir.join(TEMPLATE_FILE);
        if path.exists() && !path.is_file() {
            // Nothing could be put in its place.
            rename_aside(&path, "it is not a file");
        }
        let opened = match path.is_file() {
            true => Template::open(&hypervisor, &options.vm, &options.kernel, &path)
                .inspect_err(|error| info!(reason = causes(error), "making the service's snapshot anew"))
                .ok(),
            false => None,
        };
        let template = match opened {
            Some(template) => template,
            None => Template::make(
                &hypervisor,
                &options.vm,
                &options.kernel,
                options.boot_timeout,
                &path,
            )?,
        };
        let kept = kept::open(&hypervisor, &options);
        let pool = ShellPool::new(Arc::clone(&hypervisor), options.vm.clone(), options.shells)
            .map_err(TemplateError::Thread)?;
        // Nothing is known yet of what a guest touches when it wakes; all it has is a good guess while that is little.
        let touched = ranges(&worth_having_ahead(template.snapshot.data_pages()));
        let shape = vmm_core::Template {
            state: Arc::clone(&template.state),
            touched,
        };
        pool.set_template(shape.clone());
        Ok(Self {
            hypervisor,
            options,
            boot_time: template.boot,
            template: Mutex::new(Some(Arc::new(template))),
            pool,
            shape: Mutex::new(shape),
            instances: Mutex::new(HashMap::new()),
            kept: Mutex::new(kept),
            ended: Ended::default(),
        })
    }

    /// How long the guest took to boot; zero when the service's snapshot was found.
    #[must_use]
    pub const fn boot_time(&self) -> Duration {
        self.boot_time
    }

    pub(super) fn template(&self) -> MutexGuard<'_, Option<Arc<Template>>> {
        self.template.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, Option<ParkedVm>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shells ready to be woken into.
    #[must_use]
    pub fn shells_ready(&self) -> usize {
        self.pool.ready()
    }

    /// Waits until the stock of shells is full.
    ///
    /// # Errors
    /// Shells cannot be made, or it takes longer than `timeout`.
    pub fn wait_shells(&self, timeout: Duration) -> Result<(), NotReady> {
        self.pool.wait_ready(self.options.shells, timeout)
    }

    pub(super) fn instances(&self) -> MutexGuard<'_, HashMap<InstanceId, Instance>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The saved state to start `instance` from: its own, a kept one, or the service's snapshot.
    fn take_saved(&self, instance: InstanceId) -> Result<ParkedVm, Cause> {
        let found = self.instances().remove(&instance);
        match found {
            Some(Instance::Asleep(parked)) => return Ok(parked),
            Some(Instance::Awake(awake)) => {
                self.pool.retire(awake.vm);
                return Err("it is awake already".into());
            }
            None => {}
        }
        let kept = self.kept().take();
        if let Some(parked) = kept {
            return Ok(parked);
        }
        let template = self.template().clone();
        let template =
            template.ok_or("the service's snapshot was put aside, and the next boot makes a new one")?;
        Ok(ParkedVm {
            memory: SavedMemory::from_snapshot(&template.snapshot)?,
            state: Arc::clone(&template.state),
            streams: DetachedStreams::default(),
            wakes: 0,
            origin: Origin::Template,
        })
    }

    fn wake(&self, instance: InstanceId) -> Result<Started, HostError> {
        let fail = |source: Cause| HostError::new("restore", instance, source);
        // What may be short for a while comes first, before the saved state is touched.
        let generation = GenerationId::random().map_err(|error| fail(error.into()).kept())?;
        let shell = match self.pool.take() {
            Some(shell) => shell,
            None => {
                debug!(%instance, "no shell is ready; making one on the way");
                let shape = self.shape().clone();
                Shell::new(&self.hypervisor, &self.options.vm, Some(&shape))
                    .map_err(|error| fail(error.into()).kept())?
            }
        };
        let mut saved = self.take_saved(instance).map_err(fail)?;
        match self.adopt(shell, generation, &mut saved) {
            Ok((vm, load, restore)) => self
                .started(instance, Awake::new(vm, saved), load, restore)
                .map_err(fail),
            Err(cause) => {
                self.forsake(saved, &causes(&*cause));
                Err(fail(cause))
            }
        }
    }

    /// Makes `shell` go on from `saved`, which is as it was if that fails, but for its streams.
    fn adopt(
        &self,
        shell: Shell,
        generation: GenerationId,
        saved: &mut ParkedVm,
    ) -> Result<(Vm, Duration, Duration), Cause> {
        let begun = Instant::now();
        let shell = match &saved.memory {
            SavedMemory::Compact(image) => shell.fill(image.runs())?,
            SavedMemory::Mapped { image, working_set } => {
                shell.load(&mappable(&image.memory()?, working_set))?
            }
        };
        let loaded = Instant::now();
        let vm = shell.restore(Restore {
            state: &saved.state,
            streams: std::mem::take(&mut saved.streams),
            generation,
        })?;
        vm.start()?;
        Ok((vm, loaded - begun, loaded.elapsed()))
    }

    fn started(
        &self,
        instance: InstanceId,
        awake: Awake,
        load: Duration,
        restore: Duration,
    ) -> Result<Started, Cause> {
        let net = awake.vm.net().cloned().ok_or("the VM has no network link")?;
        let (death, died) = oneshot::channel();
        awake.vm.handle().on_stop(move |reason| {
            // Nobody listens once the instance is asleep.
            let _ = death.send(reason.to_string());
        });
        let link = Arc::new(GuestPort {
            net,
            port: self.options.port,
        });
        self.instances().insert(instance, Instance::Awake(awake));
        Ok(Started {
            link,
            died,
            load,
            restore,
        })
    }

    pub(super) fn shape(&self) -> MutexGuard<'_, vmm_core::Template> {
        self.shape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a VM that was just booted the service's snapshot, if there is none any more.
    fn renew_template(&self, vm: &mut Vm, boot: Duration) {
        if self.template().is_some() {
            return;
        }
        let MicroVmOptions {
            vm: config,
            kernel,
            dir,
            ..
        } = &self.options;
        match Template::take(
            &self.hypervisor,
            config,
            kernel,
            vm,
            boot,
            &dir.join(TEMPLATE_FILE),
        ) {
            Ok(template) => *self.template() = Some(Arc::new(template)),
            Err(error) => warn!(
                reason = causes(&error),
                "the service has no snapshot; its instances are booted"
            ),
        }
    }
}

impl Awake {
    fn new(vm: Vm, saved: ParkedVm) -> Self {
        let image = match saved.memory {
            SavedMemory::Compact(_) => None,
            SavedMemory::Mapped { image, .. } => Some(image),
        };
        Self {
            vm,
            image,
            wakes: saved.wakes.wrapping_add(1),
            origin: saved.origin,
        }
    }
}

impl InstanceHost for MicroVmHost {
    fn restore(&self, instance: InstanceId) -> Result<Started, HostError> {
        self.wake(instance)
    }

    fn boot(&self, instance: InstanceId) -> Result<Started, HostError> {
        let fail = |source: Cause| HostError::new("boot", instance, source);
        let MicroVmOptions {
            vm,
            kernel,
            boot_timeout,
            ..
        } = &self.options;
        let (mut vm, boot) = boot_until_serving(&self.hypervisor, vm, kernel, *boot_timeout)
            .map_err(|error| fail(error.into()))?;
        self.renew_template(&mut vm, boot);
        self.started(
            instance,
            Awake {
                vm,
                image: None,
                wakes: 0,
                origin: Origin::Image,
            },
            Duration::ZERO,
            boot,
        )
        .map_err(fail)
    }

    fn park(&self, instance: InstanceId, mode: ParkMode) -> Result<Parked, HostError> {
        let fail = |source: Cause| HostError::new("park", instance, source);
        let found = self.instances().remove(&instance);
        let awake = match found {
            Some(Instance::Awake(awake)) => awake,
            Some(asleep @ Instance::Asleep(_)) => {
                self.instances().insert(instance, asleep);
                return Err(fail("it is asleep already".into()));
            }
            None => return Err(fail("there is no such instance".into())),
        };
        match self.sleep(awake, mode) {
            Ok((parked, outcome)) => {
                self.instances().insert(instance, Instance::Asleep(parked));
                Ok(outcome)
            }
            Err((awake, cause)) => {
                // It only fails when the guest has died.
                awake.vm.start().map_err(|error| fail(error.into()))?;
                self.instances().insert(instance, Instance::Awake(*awake));
                if let Some(cause) = cause {
                    warn!(%instance, reason = causes(&*cause), "an instance cannot be parked and runs on");
                }
                Ok(Parked::Busy)
            }
        }
    }

    fn stop(&self, instance: InstanceId) {
        self.end(instance);
    }

    fn give_up(&self, instance: InstanceId, verdict: Verdict) {
        self.end_silent(instance, verdict);
    }

    fn put_aside(&self) {
        self.write_ended();
    }

    fn shut_down(&self) -> Result<usize, HostError> {
        // Before anything is kept: what has ended may be in the place where that goes.
        self.write_ended();
        let mut kept = 0;
        let mut failure = None;
        let instances: Vec<_> = self.instances().drain().collect();
        for (instance, found) in instances {
            let parked = match found {
                Instance::Asleep(parked) => Ok(parked),
                Instance::Awake(awake) => self
                    .save(awake)
                    .map(|saved| saved.parked)
                    .map_err(|(_, cause)| cause),
            };
            let done = parked.and_then(|parked| {
                if self.options.keep {
                    if self.kept().is_some() {
                        kept::put_file_aside(
                            &self.options,
                            "nothing went on from it, and another instance is kept",
                        );
                    }
                    kept::persist(&self.hypervisor, &self.options, &parked)
                } else {
                    Ok(())
                }
            });
            match done {
                Ok(()) => kept += usize::from(self.options.keep),
                Err(source) => {
                    failure = Some(HostError::new("keep", instance, source));
                }
            }
        }
        failure.map_or(Ok(kept), Err)
    }
}
