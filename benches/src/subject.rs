//! What is measured: one guest, booted once and saved, for everybody to restore.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use snapshot::{CompactImage, PageRuns, RamImage, Section, SectionKind};
use vm_memory::GuestAddress;
use vmm_core::{
    DetachedStreams, GenerationId, Hypervisor, MARK_RESUMED, MARK_SERVING, MemoryImage, Restore,
    StateSection, UserNetConfig, Vm, VmConfig, VmState,
};

/// Memory of the guest; what the platform gives it by default.
const MEMORY_BYTES: u64 = 64 << 20;
const GUEST_PORT: u16 = 80;
/// Connections the platform keeps open ahead by default; they are part of the saved state.
const SPARES: usize = 2;
const BOOT_TIMEOUT: Duration = Duration::from_secs(30);
/// A guest that does not rest for so long is an error.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);

/// GPA ranges: first byte, bytes.
type Ranges = Vec<(GuestAddress, u64)>;

/// The demo guest, saved while it rests: state decoded and as sections, memory in a memfd.
#[derive(Debug)]
pub struct Subject {
    hypervisor: Hypervisor,
    config: VmConfig,
    state: Arc<VmState>,
    sections: Vec<StateSection>,
    memory: MemoryImage,
    /// Owns the memfd that `memory` names.
    image: RamImage,
    /// The same memory as bytes.
    compact: CompactImage,
    /// What a clone has touched when it has woken and come to rest.
    touched: Vec<(GuestAddress, u64)>,
}

impl Subject {
    /// The configuration of the guest. It is told to write mark 5 as the first thing after a restore.
    #[must_use]
    pub fn config() -> VmConfig {
        VmConfig::default()
            .memory_bytes(MEMORY_BYTES)
            .cmdline("resume_mark")
            .net(Some(UserNetConfig::default().spare(GUEST_PORT, SPARES)))
    }

    /// Boots the guest, waits until it serves and rests, and saves it.
    ///
    /// # Errors
    /// KVM cannot be used, or the guest does not come to rest.
    pub fn boot() -> anyhow::Result<Self> {
        let hypervisor = Hypervisor::open()?;
        let config = Self::config();
        let mut vm = boot_until_quiet(&hypervisor, &config)?;
        let paused = vm.pause()?;
        let state = Arc::new(paused.save()?);
        let sections = state.to_sections()?;
        let kept = sections.iter().map(|section| Section {
            kind: SectionKind(section.kind.number()),
            version: section.version,
            bytes: section.bytes.clone(),
        });
        let image = RamImage::capture(paused.memory(), kept.collect())?;
        let memory = mappable(&image)?;
        let compact = CompactImage::capture(paused.memory(), MEMORY_BYTES)?
            .context("a guest is no larger than its memory")?;
        let mut subject = Self {
            hypervisor,
            config,
            state,
            sections,
            memory,
            image,
            compact,
            touched: Vec::new(),
        };
        (subject.memory.populate, subject.touched) = subject.working_set()?;
        Ok(subject)
    }

    /// What a wake writes and what it touches: the private and all pages of a clone that has woken and come to rest.
    fn working_set(&self) -> anyhow::Result<(Ranges, Ranges)> {
        let mut vm = self.wake(&self.memory)?;
        let paused = vm.pause()?;
        let ranges = |pages: PageRuns| pages.iter().map(|run| (run.gpa, run.len_bytes)).collect();
        let written = snapshot::private_pages(paused.memory())?;
        Ok((ranges(written), ranges(snapshot::touched_pages(paused.memory())?)))
    }

    /// One more clone, on `memory`, which holds what was saved; it has woken and come to rest again.
    ///
    /// # Errors
    /// It could not be restored, or does not come to rest.
    pub fn wake(&self, memory: &MemoryImage) -> anyhow::Result<Vm> {
        let mut vm = Vm::restore(&self.hypervisor, &self.config, memory, self.restore()?)?;
        vm.start()?;
        vm.handle().wait_mark(MARK_RESUMED, BOOT_TIMEOUT)?;
        settle(&mut vm)?;
        Ok(vm)
    }

    /// State to restore, for one more clone.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn restore(&self) -> anyhow::Result<Restore<'_>> {
        Ok(Restore {
            state: &self.state,
            streams: DetachedStreams::default(),
            generation: GenerationId::random()?,
        })
    }

    /// KVM.
    #[must_use]
    pub const fn hypervisor(&self) -> &Hypervisor {
        &self.hypervisor
    }

    /// Shape and devices of the guest's VM.
    #[must_use]
    pub const fn vm_config(&self) -> &VmConfig {
        &self.config
    }

    /// The saved state.
    #[must_use]
    pub const fn state(&self) -> &Arc<VmState> {
        &self.state
    }

    /// The saved memory as bytes.
    #[must_use]
    pub const fn compact(&self) -> &CompactImage {
        &self.compact
    }

    /// What a wake touches.
    #[must_use]
    pub fn touched(&self) -> &[(GuestAddress, u64)] {
        &self.touched
    }

    /// The saved state as bytes.
    #[must_use]
    pub fn sections(&self) -> &[StateSection] {
        &self.sections
    }

    /// The saved memory.
    #[must_use]
    pub const fn memory(&self) -> &MemoryImage {
        &self.memory
    }

    /// The saved memory as the snapshot crate keeps it.
    #[must_use]
    pub const fn image(&self) -> &RamImage {
        &self.image
    }
}

/// `image` as `vmm-core` maps it; nothing is populated ahead.
///
/// # Errors
/// The image is damaged by an absorption that failed.
pub fn mappable(image: &RamImage) -> anyhow::Result<MemoryImage> {
    let memory = image.memory()?;
    let regions = memory.regions.iter();
    let regions = regions.map(|region| (region.gpa, region.len_bytes, region.file_offset));
    Ok(MemoryImage::of_file(&memory.file, regions))
}

/// Boots the guest and lets it come to rest, its spare connections open.
fn boot_until_quiet(hypervisor: &Hypervisor, config: &VmConfig) -> anyhow::Result<Vm> {
    let mut vm = Vm::boot(hypervisor, config, guest::ELF)?;
    vm.start()?;
    let handle = vm.handle();
    handle
        .wait_mark(MARK_SERVING, BOOT_TIMEOUT)
        .with_context(|| format!("the guest printed {:?}", handle.serial_text()))?;
    settle(&mut vm)?;
    Ok(vm)
}

/// Waits until the guest is quiet and its spare connections are open.
fn settle(vm: &mut Vm) -> anyhow::Result<()> {
    anyhow::ensure!(
        vm.settle(SETTLE_TIMEOUT)?,
        "the guest is not quiet {SETTLE_TIMEOUT:?} after it began to serve"
    );
    Ok(())
}

/// What KVM lacks here, if it cannot be used.
#[must_use]
pub fn lack() -> Option<String> {
    Hypervisor::open().err().map(|lack| lack.to_string())
}
