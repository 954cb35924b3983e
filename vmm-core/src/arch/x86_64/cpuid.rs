//! CPUID of a vCPU: what the host's KVM supports, with the vCPU's own identity in it.

use kvm_bindings::CpuId;

const LEAF_FEATURES: u32 = 0x1;
const LEAF_TOPOLOGY: u32 = 0xb;
const LEAF_TOPOLOGY_V2: u32 = 0x1f;
/// Leaf 1 ECX: the local APIC timer has a TSC deadline mode. Not offered: the TSC is not carried over a restore, so a deadline
/// would be the old counter's.
const ECX_TSC_DEADLINE: u32 = 1 << 24;
/// Leaf 1 ECX: running under a hypervisor.
const ECX_HYPERVISOR: u32 = 1 << 31;

/// The CPUID table for vCPU `id`, from what the host supports.
pub(crate) fn for_vcpu(supported: &CpuId, id: u8) -> CpuId {
    let mut table = supported.clone();
    for entry in table.as_mut_slice() {
        match entry.function {
            LEAF_FEATURES => {
                entry.ecx = (entry.ecx | ECX_HYPERVISOR) & !ECX_TSC_DEADLINE;
                entry.ebx = (entry.ebx & 0x00ff_ffff) | u32::from(id) << 24;
            }
            LEAF_TOPOLOGY | LEAF_TOPOLOGY_V2 => entry.edx = u32::from(id),
            _ => {}
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use kvm_bindings::kvm_cpuid_entry2;

    use super::*;

    #[test]
    fn apic_id_is_in_both_leaves() {
        let leaf = |function| kvm_cpuid_entry2 {
            function,
            ebx: 0xff00_0001,
            ..Default::default()
        };
        let supported = CpuId::from_entries(&[leaf(LEAF_FEATURES), leaf(LEAF_TOPOLOGY)]).unwrap();
        let table = for_vcpu(&supported, 3);
        assert_eq!(table.as_slice()[0].ebx, 0x0300_0001);
        assert_eq!(table.as_slice()[1].edx, 3);
        assert_ne!(table.as_slice()[0].ecx & ECX_HYPERVISOR, 0);
    }
}
