//! The host: one service's instances, asleep or awake, and the stock of shells they wake into.

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use scheduler::InstanceId;
use snapshot::{PageRuns, RamImage};
use tokio::sync::oneshot;
use tracing::{debug, info, warn};
use vm_memory::GuestAddress;
use vmm_core::{DetachedStreams, GenerationId, Hypervisor, NotReady, Restore, Shell, ShellPool, Vm, VmConfig, VmState};

use super::link::GuestPort;
use super::parked::{ParkedVm, SavedMemory, mappable, ranges, to_sections, worth_having_ahead};
use super::template::{Template, TemplateError, boot_until_serving, fingerprint, save_options};
use crate::causes::causes;
use crate::host::{HostError, InstanceHost, Parked, Started};

/// After so many wakes the working set is learnt anew: what is populated ahead counts as touched, so it only ever grows.
const RELEARN_WAKES: u32 = 64;
const PAGE_BYTES: u64 = 4096;
const INSTANCE_FILE: &str = "instance.snapshot";
const TEMPLATE_FILE: &str = "template.snapshot";

type Cause = Box<dyn Error + Send + Sync>;

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
    hypervisor: Arc<Hypervisor>,
    options: MicroVmOptions,
    template: Template,
    pool: ShellPool,
    /// What the pool's shells are made from. Guards that alone; nothing else is locked meanwhile but the pool's stock.
    shape: Mutex<vmm_core::Template>,
    /// Guards the table alone: an instance is taken out to be worked on.
    instances: Mutex<HashMap<InstanceId, Instance>>,
    /// An instance of an earlier run of the platform, for the first start.
    kept: Mutex<Option<ParkedVm>>,
}

#[derive(Debug)]
enum Instance {
    Awake(Awake),
    Asleep(ParkedVm),
}

#[derive(Debug)]
struct Awake {
    vm: Vm,
    /// What the VM's memory is mapped from; `None` when it was copied, or the VM booted.
    image: Option<RamImage>,
    wakes: u32,
}

impl MicroVmHost {
    /// Opens the service's snapshot, or boots the guest and makes it, and fills the stock of shells.
    ///
    /// # Errors
    /// See [`TemplateError`].
    pub fn new(hypervisor: Arc<Hypervisor>, options: MicroVmOptions) -> Result<Self, TemplateError> {
        let path = options.dir.join(TEMPLATE_FILE);
        let opened = match path.exists() {
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
        let kept = if options.keep {
            open_kept(&hypervisor, &options)
        } else {
            None
        };
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
            template,
            pool,
            shape: Mutex::new(shape),
            instances: Mutex::new(HashMap::new()),
            kept: Mutex::new(kept),
        })
    }

    /// The service's snapshot.
    #[must_use]
    pub const fn template(&self) -> &Template {
        &self.template
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

    fn instances(&self) -> MutexGuard<'_, HashMap<InstanceId, Instance>> {
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
        if let Some(parked) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Ok(parked);
        }
        Ok(ParkedVm {
            memory: SavedMemory::from_snapshot(&self.template.snapshot)?,
            state: Arc::clone(&self.template.state),
            streams: DetachedStreams::default(),
            wakes: 0,
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
                let shape = vmm_core::Template::from(Arc::clone(&self.template.state));
                Shell::new(&self.hypervisor, &self.options.vm, Some(&shape))
                    .map_err(|error| fail(error.into()).kept())?
            }
        };
        let saved = self.take_saved(instance).map_err(fail)?;
        self.wake_into(shell, generation, instance, saved).map_err(fail)
    }

    fn wake_into(
        &self,
        shell: Shell,
        generation: GenerationId,
        instance: InstanceId,
        saved: ParkedVm,
    ) -> Result<Started, Cause> {
        let ParkedVm {
            memory,
            state,
            streams,
            wakes,
        } = saved;
        let begun = Instant::now();
        let (shell, image) = match memory {
            SavedMemory::Compact(image) => (shell.fill(image.runs())?, None),
            SavedMemory::Mapped { image, working_set } => (
                shell.load(&mappable(&image.memory()?, &working_set))?,
                Some(image),
            ),
        };
        let loaded = Instant::now();
        let vm = shell.restore(Restore {
            state: &state,
            streams,
            generation,
        })?;
        vm.start()?;
        let restored = Instant::now();
        let awake = Awake {
            vm,
            image,
            wakes: wakes.wrapping_add(1),
        };
        self.started(instance, awake, loaded - begun, restored - loaded)
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

    /// Saves an awake instance in RAM if it is quiet, or gives it back, paused, with the reason if that is an error.
    fn sleep(&self, mut awake: Awake) -> Result<(ParkedVm, Parked), (Box<Awake>, Option<Cause>)> {
        match awake
            .vm
            .pause()
            .map_err(Cause::from)
            .and_then(|paused| Ok(paused.is_quiet()?))
        {
            Ok(true) => self.save(awake).map_err(|(awake, cause)| (awake, Some(cause))),
            Ok(false) => Err((Box::new(awake), None)),
            Err(cause) => Err((Box::new(awake), Some(cause))),
        }
    }

    /// Saves an awake instance in RAM as it is. What can fail comes before the streams are taken out of the VM, so that it can go
    /// on otherwise.
    fn save(&self, mut awake: Awake) -> Result<(ParkedVm, Parked), (Box<Awake>, Cause)> {
        match self.save_memory(&mut awake) {
            Ok((memory, written_bytes, touched)) => {
                let saved = awake
                    .vm
                    .pause()
                    .map_err(Cause::from)
                    .and_then(|paused| Ok(paused.save_with_streams()?));
                let (state, streams) = match saved {
                    Ok(saved) => saved,
                    Err(cause) => return Err((Box::new(awake), cause)),
                };
                let state = Arc::new(state);
                if let Some(touched) = touched {
                    self.learn(&state, &touched);
                }
                let saved_bytes = memory.resident_bytes().unwrap_or_default();
                let Awake { vm, wakes, .. } = awake;
                self.pool.retire(vm);
                Ok((
                    ParkedVm {
                        memory,
                        state,
                        streams,
                        wakes,
                    },
                    Parked::Asleep {
                        written_bytes,
                        saved_bytes,
                    },
                ))
            }
            Err(cause) => Err((Box::new(awake), cause)),
        }
    }

    /// The memory of a VM, how much of it was written if that is known, and for small ones what was touched.
    fn save_memory(&self, awake: &mut Awake) -> Result<(SavedMemory, u64, Option<PageRuns>), Cause> {
        let paused = awake.vm.pause()?;
        let Some(image) = &mut awake.image else {
            let touched = snapshot::touched_pages(paused.memory())?;
            let memory = SavedMemory::capture(paused.memory())?;
            let touched = matches!(memory, SavedMemory::Compact(_)).then_some(touched);
            return Ok((memory, 0, touched));
        };
        let absorbed = image.absorb(paused.memory(), Vec::new());
        if absorbed.is_err() && image.is_poisoned() {
            // The VM has all of it still; the next time it is captured anew.
            awake.image = None;
        }
        let absorbed = absorbed?;
        let relearn = awake.wakes % RELEARN_WAKES == RELEARN_WAKES - 1;
        let touched = if relearn {
            PageRuns::default()
        } else {
            absorbed.touched
        };
        let image = awake.image.take().ok_or("the image has gone")?;
        let memory = SavedMemory::Mapped {
            image,
            working_set: worth_having_ahead(touched),
        };
        Ok((memory, absorbed.dirty_pages * PAGE_BYTES, None))
    }

    /// Has shells made with what a VM touched, if that is more than before. A VM from such a shell has touched all that its
    /// shell had, so this grows, and ends when it covers the guest.
    fn learn(&self, state: &Arc<VmState>, touched: &PageRuns) {
        let touched = ranges(&worth_having_ahead(touched.clone()));
        let bytes = |ranges: &[(GuestAddress, u64)]| ranges.iter().map(|(_, len)| len).sum::<u64>();
        let mut shape = self.shape.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes(&touched) > bytes(&shape.touched) {
            *shape = vmm_core::Template {
                state: Arc::clone(state),
                touched,
            };
            self.pool.set_template(shape.clone());
        }
    }

    fn persist(&self, parked: &ParkedVm) -> Result<(), Cause> {
        let MicroVmOptions { vm, kernel, dir, .. } = &self.options;
        let options = save_options(fingerprint(&self.hypervisor, vm, kernel)?)?;
        let sections = to_sections(&parked.state)?;
        parked
            .memory
            .persist(&dir.join(INSTANCE_FILE), &sections, options)?;
        Ok(())
    }
}

/// The instance that an earlier run of the platform has kept, if it is still of use.
fn open_kept(hypervisor: &Hypervisor, options: &MicroVmOptions) -> Option<ParkedVm> {
    let path = options.dir.join(INSTANCE_FILE);
    if !path.exists() {
        return None;
    }
    let open = || -> Result<ParkedVm, Cause> {
        let template = Template::open(hypervisor, &options.vm, &options.kernel, &path)?;
        Ok(ParkedVm {
            memory: SavedMemory::from_snapshot(&template.snapshot)?,
            state: template.state,
            streams: DetachedStreams::default(),
            wakes: 0,
        })
    };
    open()
        .inspect(|_| info!(path = %path.display(), "found the instance of an earlier run"))
        .inspect_err(|error| {
            let free = |n: &u32| !path.with_extension(format!("unused-{n}")).exists();
            let aside = path.with_extension(format!("unused-{}", (1..).find(free).unwrap_or(0)));
            warn!(
                path = %path.display(),
                reason = causes(&**error),
                aside = %aside.display(),
                "an earlier instance is of no use here; putting it aside and starting a new one"
            );
            if let Err(error) = std::fs::rename(&path, &aside) {
                warn!(path = %path.display(), %error, "cannot put it aside; it will be replaced");
            }
        })
        .ok()
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
        let (vm, boot) = boot_until_serving(&self.hypervisor, vm, kernel, *boot_timeout)
            .map_err(|error| fail(error.into()))?;
        self.started(
            instance,
            Awake {
                vm,
                image: None,
                wakes: 0,
            },
            Duration::ZERO,
            boot,
        )
        .map_err(fail)
    }

    fn park(&self, instance: InstanceId) -> Result<Parked, HostError> {
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
        match self.sleep(awake) {
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
        let found = self.instances().remove(&instance);
        if let Some(Instance::Awake(awake)) = found {
            self.pool.retire(awake.vm);
        }
        if self.options.keep {
            // What an earlier run has kept was this instance's, and may be what ended it.
            let path = self.options.dir.join(INSTANCE_FILE);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    warn!(path = %path.display(), %error, "cannot remove the state of an instance that has ended");
                }
                _ => {}
            }
        }
    }

    fn shut_down(&self) -> Result<usize, HostError> {
        let mut kept = 0;
        let mut failure = None;
        let instances: Vec<_> = self.instances().drain().collect();
        for (instance, found) in instances {
            let parked = match found {
                Instance::Asleep(parked) => Ok(parked),
                Instance::Awake(awake) => self
                    .save(awake)
                    .map(|(parked, _)| parked)
                    .map_err(|(_, cause)| cause),
            };
            let done = parked.and_then(|parked| {
                if self.options.keep {
                    self.persist(&parked)
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
