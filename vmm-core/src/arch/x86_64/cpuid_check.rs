//! Whether a host has what a guest has found in its CPUID.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};

/// A register of CPUID that promises a saved guest more than this host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("CPUID differs: leaf {leaf:#x}.{index:x} {register} {saved:#x} in the snapshot, {here:#x} here")]
#[non_exhaustive]
pub struct CpuidMismatch {
    /// The leaf.
    pub leaf: u32,
    /// The subleaf.
    pub index: u32,
    /// `eax`, `ebx`, `ecx` or `edx`.
    pub register: &'static str,
    /// What the guest was given.
    pub saved: u32,
    /// What this host would give.
    pub here: u32,
}

/// This host lacks features that a saved guest was told of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .mismatches.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
#[non_exhaustive]
pub struct CpuidError {
    /// Every register in which the host falls short.
    pub mismatches: Vec<CpuidMismatch>,
}

#[derive(Clone, Copy)]
enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

/// What is looked at in a register.
#[derive(Clone, Copy)]
enum Rule {
    /// These bits are features: each that the guest has seen must be there.
    Features(u32),
    /// The value must be the same.
    Same,
    /// The low so many bytes are sizes or versions: none may be smaller.
    Sizes(usize),
}

use Register::{Eax, Ebx, Ecx, Edx};
use Rule::{Features, Same, Sizes};

/// Performance counters: in EAX their version, number and width, in EDX the number of fixed ones.
const LEAF_PMU: u32 = 0xa;
const LEAF_AMD_PMU: u32 = 0x8000_0022;
const LEAF_TILES: u32 = 0x1d;
const LEAF_TILE_PRODUCTS: u32 = 0x1e;
/// The version of AVX10 in the low byte of EBX, and the lengths of vectors.
const LEAF_AVX10: u32 = 0x24;
const AVX10_LENGTHS: u32 = 7 << 16;
const LEAF_XSAVE: u32 = 0xd;
/// Subleaves of [`LEAF_XSAVE`] from here on are components of the XSAVE area: size in EAX, offset in EBX.
const FIRST_XSAVE_COMPONENT: u32 = 2;
const XSAVE_COMPONENT: [(Register, Rule); 2] = [(Eax, Same), (Ebx, Same)];

const ALL: u32 = u32::MAX;
/// Leaf 1 ECX but OSXSAVE, leaf 7 ECX but OSPKE and the MAWAU number: those show CR4, not the processor.
const LEAF_1_ECX: u32 = !(1 << 27);
const LEAF_7_ECX: u32 = !(1 << 4 | 0x1f << 17);
/// Leaf 7 EBX but FDP_EXCPTN_ONLY and ZERO_FCS_FDS, which say that something is *not* there.
const LEAF_7_EBX: u32 = !(1 << 6 | 1 << 13);

/// What a guest relies on (Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E; kernel `cpuid.rst`). What is not here is
/// identity, topology or cache sizes, which a guest may find changed.
const RULES: [(u32, u32, Register, Rule); 35] = [
    (0x0, 0, Ebx, Same),
    (0x0, 0, Edx, Same),
    (0x0, 0, Ecx, Same),
    (0x1, 0, Ecx, Features(LEAF_1_ECX)),
    (0x1, 0, Edx, Features(ALL)),
    (0x7, 0, Ebx, Features(LEAF_7_EBX)),
    (0x7, 0, Ecx, Features(LEAF_7_ECX)),
    (0x7, 0, Edx, Features(ALL)),
    (0x7, 1, Eax, Features(ALL)),
    (0x7, 1, Ebx, Features(ALL)),
    (0x7, 1, Ecx, Features(ALL)),
    (0x7, 1, Edx, Features(ALL)),
    (0x7, 2, Edx, Features(ALL)),
    (LEAF_PMU, 0, Eax, Sizes(4)),
    (LEAF_PMU, 0, Edx, Sizes(1)),
    (LEAF_XSAVE, 0, Eax, Features(ALL)),
    (LEAF_XSAVE, 0, Edx, Features(ALL)),
    (LEAF_XSAVE, 1, Eax, Features(ALL)),
    (LEAF_XSAVE, 1, Ecx, Features(ALL)),
    (LEAF_XSAVE, 1, Edx, Features(ALL)),
    (LEAF_TILES, 1, Eax, Same),
    (LEAF_TILES, 1, Ebx, Same),
    (LEAF_TILES, 1, Ecx, Same),
    (LEAF_TILE_PRODUCTS, 0, Ebx, Same),
    (LEAF_AVX10, 0, Ebx, Sizes(1)),
    (LEAF_AVX10, 0, Ebx, Features(AVX10_LENGTHS)),
    (0x4000_0001, 0, Eax, Features(ALL)),
    (0x8000_0001, 0, Ecx, Features(ALL)),
    (0x8000_0001, 0, Edx, Features(ALL)),
    (0x8000_0007, 0, Edx, Features(ALL)),
    (0x8000_0008, 0, Eax, Sizes(2)),
    (0x8000_0008, 0, Ebx, Features(ALL)),
    (0x8000_0021, 0, Eax, Features(ALL)),
    (LEAF_AMD_PMU, 0, Eax, Features(ALL)),
    (LEAF_AMD_PMU, 0, Ebx, Sizes(1)),
];

impl Register {
    const fn of(self, entry: &kvm_cpuid_entry2) -> u32 {
        match self {
            Eax => entry.eax,
            Ebx => entry.ebx,
            Ecx => entry.ecx,
            Edx => entry.edx,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Eax => "eax",
            Ebx => "ebx",
            Ecx => "ecx",
            Edx => "edx",
        }
    }
}

impl Rule {
    fn holds(self, saved: u32, here: u32) -> bool {
        match self {
            Features(mask) => saved & mask & !here == 0,
            Same => saved == here,
            Sizes(count) => {
                let pairs = saved.to_le_bytes().into_iter().zip(here.to_le_bytes());
                pairs.take(count).all(|(saved, here)| saved <= here)
            }
        }
    }
}

/// Checks that `here`, the table that this host would give, has all that a guest with the table `saved` relies on. More
/// does no harm: the guest keeps the table it was given.
pub(crate) fn check(saved: &CpuId, here: &CpuId) -> Result<(), CpuidError> {
    let mut mismatches = Vec::new();
    let mut compare = |entry: &kvm_cpuid_entry2, register: Register, rule: Rule| {
        let other = find(here, entry.function, entry.index);
        let (was, is) = (register.of(entry), other.map_or(0, |other| register.of(other)));
        if !rule.holds(was, is) {
            mismatches.push(CpuidMismatch {
                leaf: entry.function,
                index: entry.index,
                register: register.name(),
                saved: was,
                here: is,
            });
        }
    };
    for (function, index, register, rule) in RULES {
        if let Some(entry) = find(saved, function, index) {
            compare(entry, register, rule);
        }
    }
    // The bytes of the area are saved as they lie, so its components must lie in the same places.
    for entry in saved.as_slice() {
        if entry.function == LEAF_XSAVE && entry.index >= FIRST_XSAVE_COMPONENT && entry.eax != 0 {
            for (register, rule) in XSAVE_COMPONENT {
                compare(entry, register, rule);
            }
        }
    }
    if mismatches.is_empty() {
        Ok(())
    } else {
        Err(CpuidError { mismatches })
    }
}

fn find(table: &CpuId, function: u32, index: u32) -> Option<&kvm_cpuid_entry2> {
    table
        .as_slice()
        .iter()
        .find(|entry| entry.function == function && entry.index == index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(u32, u32, [u32; 4])]) -> CpuId {
        let entries: Vec<_> = entries
            .iter()
            .map(|&(function, index, [eax, ebx, ecx, edx])| kvm_cpuid_entry2 {
                function,
                index,
                eax,
                ebx,
                ecx,
                edx,
                ..Default::default()
            })
            .collect();
        CpuId::from_entries(&entries).unwrap()
    }

    #[test]
    fn a_feature_that_is_missing_here_is_named() {
        let saved = table(&[(0x7, 0, [0, 0x219c_07ab, 0, 0]), (0x7, 1, [0x30, 0, 0, 0])]);
        let here = table(&[(0x7, 0, [0, 0x219c_07a9, 0, 0])]);
        assert_eq!(
            check(&saved, &here).unwrap_err().to_string(),
            "CPUID differs: leaf 0x7.0 ebx 0x219c07ab in the snapshot, 0x219c07a9 here; \
             CPUID differs: leaf 0x7.1 eax 0x30 in the snapshot, 0x0 here"
        );
    }

    #[test]
    fn a_host_with_more_features_will_do() {
        let saved = table(&[
            (0x1, 0, [0x806f8, 0x10800, 0x8000_0001, 0x1]),
            (0x8000_0008, 0, [0x3028, 0, 0, 0]),
        ]);
        let here = table(&[
            (0x1, 0, [0xa06d1, 0x40800, 0x8000_0003, 0x3]),
            (0x7, 0, [1, 1, 1, 1]),
            (0x8000_0008, 0, [0x392e, 1, 0, 0]),
        ]);
        assert_eq!(check(&saved, &here), Ok(()));
    }

    #[test]
    fn what_shows_control_registers_or_topology_is_not_compared() {
        let saved = table(&[
            (0x1, 0, [0, 0xff00_0000, 1 << 27, 0]),
            (0x7, 0, [2, 1 << 13, 1 << 4, 0]),
            (0xb, 1, [7; 4]),
        ]);
        assert_eq!(check(&saved, &table(&[])), Ok(()));
    }

    #[test]
    fn versions_counters_and_tiles_may_grow_or_stay_but_not_shrink() {
        let pmu =
            |version: u32, counters: u32| (0xa, 0, [0x0730_0000 | counters << 8 | version, 0, 0, 0x603]);
        let avx10 = |version: u32| (0x24, 0, [0, 0x0007_0000 | version, 0, 0]);
        let tiles = |rows| (0x1d, 1, [0x0400_2000, 0x0008_0040, rows, 0]);
        let saved = table(&[pmu(2, 6), avx10(1), tiles(16)]);
        assert_eq!(check(&saved, &table(&[pmu(5, 8), avx10(2), tiles(16)])), Ok(()));
        let lesser = check(&saved, &table(&[pmu(5, 4), avx10(0), tiles(8)])).unwrap_err();
        let found: Vec<_> = lesser.mismatches.iter().map(|mismatch| mismatch.leaf).collect();
        assert_eq!(found, [0xa, 0x1d, 0x24]);
    }

    #[test]
    fn vendor_address_sizes_and_the_layout_of_the_xsave_area_must_fit() {
        let saved = table(&[
            (0x0, 0, [0x20, 0x756e_6547, 0x6c65_746e, 0x4965_6e69]),
            (0x8000_0008, 0, [0x392e, 0, 0, 0]),
            (0xd, 2, [256, 576, 0, 0]),
            (0xd, 9, [8, 2688, 0, 0]),
        ]);
        let here = table(&[
            (0x0, 0, [0x10, 0x756e_6547, 0x6c65_746e, 0x4965_6e69]),
            (0x8000_0008, 0, [0x392d, 0, 0, 0]),
            (0xd, 2, [256, 576, 0, 0]),
            (0xd, 9, [8, 2432, 0, 0]),
        ]);
        let found: Vec<_> = check(&saved, &here)
            .unwrap_err()
            .mismatches
            .iter()
            .map(|mismatch| (mismatch.leaf, mismatch.index, mismatch.register))
            .collect();
        assert_eq!(found, [(0x8000_0008, 0, "eax"), (0xd, 9, "ebx")]);
        let other = table(&[(0x0, 0, [0x10, 0x6874_7541, 0x444d_4163, 0x6974_6e65])]);
        assert_eq!(
            check(
                &table(&[(0x0, 0, [0x20, 0x756e_6547, 0x6c65_746e, 0x4965_6e69])]),
                &other
            )
            .unwrap_err()
            .mismatches
            .len(),
            3
        );
    }
}
