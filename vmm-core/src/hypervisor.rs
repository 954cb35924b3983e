//! `/dev/kvm`: opening it, and saying exactly what is missing when it cannot be used.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::{Cap, Kvm};

use crate::arch::x86_64::cpuid;
use crate::arch::x86_64::cpuid_check::{self, CpuidError};
use crate::memory::RomError;
use crate::memory::rom::Rom;
use crate::state::VmState;

/// The KVM API version every kernel since 2.6.22 reports (kernel `Documentation/virt/kvm/api.rst`, 4.1).
const KVM_API_VERSION: i32 = 12;

/// A usable `/dev/kvm`: the capabilities this crate needs are all there.
///
/// Cheap to share (`&Hypervisor` or `Arc`); one per process is enough for any number of VMs.
#[derive(Debug)]
pub struct Hypervisor {
    pub(crate) kvm: Kvm,
    pub(crate) cpuid: CpuId,
    pub(crate) msr_indices: std::sync::Arc<[u32]>,
    pub(crate) rom: std::sync::Arc<Rom>,
    capabilities: Capabilities,
}

/// A KVM feature, by what it is used for here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Capability {
    /// Guest memory given by the process (`KVM_CAP_USER_MEMORY`).
    UserMemory,
    /// Local APICs in the kernel, the I/O APIC here (`KVM_CAP_SPLIT_IRQCHIP`).
    SplitIrqchip,
    /// Interrupts raised by writing an eventfd (`KVM_CAP_IRQFD`).
    Irqfd,
    /// Doorbells that do not leave the kernel (`KVM_CAP_IOEVENTFD`).
    IoEventfd,
    /// A vCPU can be stopped without a race (`KVM_CAP_IMMEDIATE_EXIT`).
    ImmediateExit,
    /// Registers set through the shared run page (`KVM_CAP_SYNC_REGS`).
    SyncRegs,
    /// Extended processor state (`KVM_CAP_XSAVE`).
    Xsave,
    /// Extended control registers (`KVM_CAP_XCRS`).
    Xcrs,
    /// Pending exceptions and interrupts (`KVM_CAP_VCPU_EVENTS`).
    VcpuEvents,
    /// Run state of a vCPU (`KVM_CAP_MP_STATE`).
    MpState,
    /// Debug registers (`KVM_CAP_DEBUGREGS`).
    DebugRegs,
    /// Memory that the guest can only read (`KVM_CAP_READONLY_MEM`).
    ReadonlyMemory,
    /// CPUID given by the process (`KVM_CAP_EXT_CPUID`).
    ExtCpuid,
}

impl Capability {
    /// Every capability that a VM of this crate needs.
    pub const REQUIRED: [Self; 13] = [
        Self::UserMemory,
        Self::SplitIrqchip,
        Self::Irqfd,
        Self::IoEventfd,
        Self::ImmediateExit,
        Self::SyncRegs,
        Self::Xsave,
        Self::Xcrs,
        Self::VcpuEvents,
        Self::MpState,
        Self::DebugRegs,
        Self::ReadonlyMemory,
        Self::ExtCpuid,
    ];

    /// The kernel's name of it.
    #[must_use]
    pub const fn kernel_name(self) -> &'static str {
        match self {
            Self::UserMemory => "KVM_CAP_USER_MEMORY",
            Self::SplitIrqchip => "KVM_CAP_SPLIT_IRQCHIP",
            Self::Irqfd => "KVM_CAP_IRQFD",
            Self::IoEventfd => "KVM_CAP_IOEVENTFD",
            Self::ImmediateExit => "KVM_CAP_IMMEDIATE_EXIT",
            Self::SyncRegs => "KVM_CAP_SYNC_REGS",
            Self::Xsave => "KVM_CAP_XSAVE",
            Self::Xcrs => "KVM_CAP_XCRS",
            Self::VcpuEvents => "KVM_CAP_VCPU_EVENTS",
            Self::MpState => "KVM_CAP_MP_STATE",
            Self::DebugRegs => "KVM_CAP_DEBUGREGS",
            Self::ReadonlyMemory => "KVM_CAP_READONLY_MEM",
            Self::ExtCpuid => "KVM_CAP_EXT_CPUID",
        }
    }

    const fn cap(self) -> Cap {
        match self {
            Self::UserMemory => Cap::UserMemory,
            Self::SplitIrqchip => Cap::SplitIrqchip,
            Self::Irqfd => Cap::Irqfd,
            Self::IoEventfd => Cap::Ioeventfd,
            Self::ImmediateExit => Cap::ImmediateExit,
            Self::SyncRegs => Cap::SyncRegs,
            Self::Xsave => Cap::Xsave,
            Self::Xcrs => Cap::Xcrs,
            Self::VcpuEvents => Cap::VcpuEvents,
            Self::MpState => Cap::MpState,
            Self::DebugRegs => Cap::Debugregs,
            Self::ReadonlyMemory => Cap::ReadonlyMem,
            Self::ExtCpuid => Cap::ExtCpuid,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kernel_name())
    }
}

/// What this host's KVM can do beyond [`Capability::REQUIRED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Largest number of vCPUs a VM may have.
    pub max_vcpus: usize,
    /// Largest number of memory slots a VM may have.
    pub max_memory_slots: usize,
    /// Whether the frequency of a guest's TSC can be set (`KVM_CAP_TSC_CONTROL`).
    pub tsc_control: bool,
}

/// Why `/dev/kvm` cannot be used, with what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such device.
    #[error(
        "open {}: no such device: load the kernel module (modprobe kvm_intel, or kvm_amd); if that says \
         'operation not supported', enable VT-x/SVM in the firmware, or nested virtualisation when this host is itself a VM",
        .path.display()
    )]
    NotFound {
        /// The device's path.
        path: PathBuf,
    },
    /// The device is there but this user may not use it.
    #[error(
        "open {}: permission denied: join the device's group (usermod -aG kvm $USER, then log in again) or run as root",
        .path.display()
    )]
    PermissionDenied {
        /// The device's path.
        path: PathBuf,
    },
    /// Opening failed in another way.
    #[error("open {}", .path.display())]
    Open {
        /// The device's path.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The device speaks another API version.
    #[error("KVM API version is {found}, expected {KVM_API_VERSION}: is {} really KVM?", .path.display())]
    ApiVersion {
        /// The device's path.
        path: PathBuf,
        /// The version it reports.
        found: i32,
    },
    /// Capabilities are missing.
    #[error("this kernel's KVM lacks {}: Linux 5.10 or later on x86-64 has them all", list(.missing))]
    MissingCapabilities {
        /// All that are missing.
        missing: Vec<Capability>,
    },
    /// The pages that shells warm up on could not be made.
    #[error("make the warm-up pages")]
    Rom(#[source] RomError),
    /// A query about the host failed.
    #[error("ask KVM for {what}")]
    Query {
        /// What was asked for.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

fn list(missing: &[Capability]) -> String {
    let names: Vec<_> = missing
        .iter()
        .map(|capability| capability.kernel_name())
        .collect();
    names.join(", ")
}

impl Hypervisor {
    /// Opens `/dev/kvm` and checks that everything a VM needs is there.
    ///
    /// # Errors
    /// [`OpenError`] says what is missing and how to get it.
    pub fn open() -> Result<Self, OpenError> {
        Self::open_at(Path::new("/dev/kvm"))
    }

    /// Like [`open`](Self::open), for a device node elsewhere.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_at(path: &Path) -> Result<Self, OpenError> {
        let kvm = open_device(path)?;
        let found = kvm.get_api_version();
        if found != KVM_API_VERSION {
            return Err(OpenError::ApiVersion {
                path: path.to_owned(),
                found,
            });
        }
        let missing: Vec<_> = Capability::REQUIRED
            .into_iter()
            .filter(|c| !kvm.check_extension(c.cap()))
            .collect();
        if !missing.is_empty() {
            return Err(OpenError::MissingCapabilities { missing });
        }
        let cpuid = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(|source| OpenError::Query {
                what: "supported CPUID",
                source: source.into(),
            })?;
        let msr_indices = kvm
            .get_msr_index_list()
            .map_err(|source| OpenError::Query {
                what: "the MSR list",
                source: source.into(),
            })?
            .as_slice()
            .into();
        let rom = Rom::new().map_err(OpenError::Rom)?.into();
        let capabilities = Capabilities {
            max_vcpus: kvm.get_max_vcpus(),
            max_memory_slots: kvm.get_nr_memslots(),
            tsc_control: kvm.check_extension(Cap::TscControl),
        };
        Ok(Self {
            kvm,
            cpuid,
            msr_indices,
            rom,
            capabilities,
        })
    }

    /// What a guest saved on this host has seen of its processor, as `key = value` pairs: `cpu.vendor`, and `cpu.signature`
    /// (family, model, stepping) of CPUID leaf 1.
    ///
    /// No guest goes on with another vendor. Another signature will do if [`check`](Self::check) says so; it is here for those
    /// who want more than that: what a guest has chosen at boot by its model alone, such as workarounds for errata and
    /// mitigations of side channels between its own users, it keeps on the other processor.
    #[must_use]
    pub fn processor(&self) -> [(&'static str, String); 2] {
        let leaf = |function| {
            self.cpuid
                .as_slice()
                .iter()
                .find(move |entry| entry.function == function)
        };
        let vendor: Vec<u8> = leaf(0)
            .into_iter()
            .flat_map(|entry| [entry.ebx, entry.edx, entry.ecx].map(u32::to_le_bytes))
            .flatten()
            .collect();
        let signature = leaf(1).map_or(0, |entry| entry.eax);
        let vendor = String::from_utf8_lossy(&vendor).into_owned();
        [
            ("cpu.vendor", vendor),
            ("cpu.signature", format!("{signature:#010x}")),
        ]
    }

    /// Says before a wake whether this host's processor has all that the guest of `state` was told of, so that the caller can
    /// boot instead. A host with more features will do: the guest keeps the CPUID it was given. Restoring checks it as well.
    ///
    /// # Errors
    /// Every feature that is missing, not just the first.
    pub fn check(&self, state: &VmState) -> Result<(), CpuidError> {
        self.check_cpuid(&state.vcpu.cpuid)
    }

    pub(crate) fn check_cpuid(&self, saved: &CpuId) -> Result<(), CpuidError> {
        cpuid_check::check(saved, &cpuid::for_vcpu(&self.cpuid, 0))
    }

    /// What this host's KVM can do beyond the required.
    #[must_use]
    pub const fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
}

fn open_device(path: &Path) -> Result<Kvm, OpenError> {
    use std::os::unix::ffi::OsStrExt;
    let invalid = || OpenError::Open {
        path: path.to_owned(),
        source: io::ErrorKind::InvalidInput.into(),
    };
    let c_path = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| invalid())?;
    Kvm::new_with_path(c_path).map_err(|errno| {
        let source = io::Error::from(errno);
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => OpenError::NotFound { path },
            io::ErrorKind::PermissionDenied => OpenError::PermissionDenied { path },
            _ if matches!(source.raw_os_error(), Some(libc::ENXIO | libc::ENODEV)) => {
                OpenError::NotFound { path }
            }
            _ => OpenError::Open { path, source },
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_device_names_the_module_to_load() {
        let error = Hypervisor::open_at(Path::new("/dev/no-such-kvm")).unwrap_err();
        assert!(matches!(error, OpenError::NotFound { .. }));
        assert!(error.to_string().contains("modprobe kvm_intel"), "{error}");
    }

    #[test]
    fn a_device_that_is_not_kvm_is_refused() {
        let error = Hypervisor::open_at(Path::new("/dev/null")).unwrap_err();
        assert!(
            matches!(error, OpenError::ApiVersion { .. } | OpenError::Open { .. }),
            "{error}"
        );
    }

    #[test]
    fn missing_capabilities_are_all_listed() {
        let error = OpenError::MissingCapabilities {
            missing: vec![Capability::Irqfd, Capability::SyncRegs],
        };
        assert!(error.to_string().contains("KVM_CAP_IRQFD, KVM_CAP_SYNC_REGS"));
    }
}
