//! Which MSRs make up a vCPU's state, and reading and writing them in bulk.

use kvm_bindings::{KVM_MAX_MSR_ENTRIES, Msrs, kvm_msr_entry};
use kvm_ioctls::VcpuFd;

/// Time stamp counter: a restored guest takes its time from the host (docs/guest-abi.md), never from a restored counter.
pub(crate) const IA32_TSC: u32 = 0x10;
/// Its adjustment, which moves with it.
const IA32_TSC_ADJUST: u32 = 0x3b;
const IA32_MISC_ENABLE: u32 = 0x1a0;
const MISC_ENABLE_FAST_STRING: u64 = 1;

/// Whether an MSR is carried by state rather than by the clock of the machine it runs on.
pub(crate) fn is_saved(index: u32) -> bool {
    !matches!(index, IA32_TSC | IA32_TSC_ADJUST)
}

/// What firmware would have set before a kernel starts.
pub(crate) fn boot_values() -> Vec<kvm_msr_entry> {
    vec![kvm_msr_entry {
        index: IA32_MISC_ENABLE,
        data: MISC_ENABLE_FAST_STRING,
        ..Default::default()
    }]
}

/// Reads every MSR of `indices` that this vCPU has; KVM lists some that it then refuses, and those are left out.
pub(crate) fn read(
    vcpu: &VcpuFd,
    indices: impl Iterator<Item = u32>,
) -> Result<Vec<kvm_msr_entry>, kvm_ioctls::Error> {
    let mut wanted: Vec<_> = indices
        .map(|index| kvm_msr_entry {
            index,
            ..Default::default()
        })
        .collect();
    let mut values = Vec::with_capacity(wanted.len());
    while !wanted.is_empty() {
        let chunk = wanted.get(..KVM_MAX_MSR_ENTRIES).unwrap_or(&wanted);
        let asked = chunk.len();
        let mut msrs = Msrs::from_entries(chunk).map_err(|_| kvm_ioctls::Error::new(libc::EINVAL))?;
        let got = vcpu.get_msrs(&mut msrs)?;
        values.extend_from_slice(msrs.as_slice().get(..got).unwrap_or_default());
        // KVM stops at the first one it cannot read.
        let done = if got < asked { got + 1 } else { got };
        wanted.drain(..done);
    }
    Ok(values)
}

/// Writes `values`; says which was refused.
pub(crate) fn write(vcpu: &VcpuFd, values: &[kvm_msr_entry]) -> Result<(), MsrError> {
    for chunk in values.chunks(KVM_MAX_MSR_ENTRIES) {
        let first = chunk.first().map_or(0, |entry| entry.index);
        let fail = |source: std::io::Error| MsrError::Call { first, source };
        let msrs = Msrs::from_entries(chunk).map_err(|_| fail(std::io::ErrorKind::InvalidInput.into()))?;
        let written = vcpu.set_msrs(&msrs).map_err(|errno| fail(errno.into()))?;
        if let Some(refused) = chunk.get(written) {
            return Err(MsrError::Refused {
                index: refused.index,
                value: refused.data,
            });
        }
    }
    Ok(())
}

/// MSRs could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MsrError {
    #[error("write MSRs from {first:#x} on")]
    Call {
        first: u32,
        #[source]
        source: std::io::Error,
    },
    #[error("write MSR {index:#x}: this host refuses the value {value:#x}")]
    Refused { index: u32, value: u64 },
}
