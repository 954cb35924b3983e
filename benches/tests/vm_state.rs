//! The floor and `vmm-core` read the same sections alike, those of docs/vm-state.md.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use benches::floor::{GenerationSection, IoApicSection, SectionError, VcpuSection};
use vmm_core::{StateKind, StateSection, VmState};

/// Sizes of the blocks of a vCPU section in their order, with two CPUID entries and three MSRs.
const BLOCKS: [usize; 10] = [2 * 40, 144, 312, 64, 4, 128, 392, 4096, 1024, 3 * 16];

const GENERATION: GenerationSection = GenerationSection {
    page: Some(0x10_0000),
    sequence: 4,
    restores: 300,
    monotonic_ns: 1 << 40,
    realtime_ns: 1 << 60,
    page_low: 0x10_0000,
};

/// A vCPU section in which the bytes of each block count up from the block's number.
fn vcpu() -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, len) in (1_u8..).zip(BLOCKS) {
        bytes.extend(u32::try_from(len).unwrap().to_le_bytes());
        bytes.extend((0..len).map(|at| number.wrapping_add(u8::try_from(at % 251).unwrap())));
    }
    bytes
}

fn ioapic() -> IoApicSection {
    IoApicSection {
        id: 0x0100_0000,
        select: 0x1c,
        entries: std::array::from_fn(|pin| 1 << pin | 1 << 16),
    }
}

fn sections() -> Vec<StateSection> {
    let section = |number: u32, bytes: Vec<u8>| {
        let kind = StateKind::from_number(number).unwrap();
        StateSection {
            kind,
            version: if number == 4 { 2 } else { 1 },
            bytes,
        }
    };
    vec![
        section(1, (64_u64 << 20).to_le_bytes().to_vec()),
        section(2, vcpu()),
        section(3, postcard::to_stdvec(&ioapic()).unwrap()),
        section(4, postcard::to_stdvec(&GENERATION).unwrap()),
    ]
}

#[test]
fn vmm_core_reads_and_writes_the_documented_bytes() {
    let sections = sections();
    let state = VmState::from_sections(&sections).unwrap();
    assert_eq!(state.memory_bytes(), 64 << 20);
    assert_eq!(state.to_sections().unwrap(), sections);
}

#[test]
fn the_floor_reads_the_documented_bytes() {
    let state = VcpuSection::decode(&vcpu()).unwrap();
    assert_eq!((state.cpuid.len(), state.msrs.len()), (2, 3));
    assert_eq!(state.cpuid[0].function.to_le_bytes(), [1, 2, 3, 4]);
    assert_eq!(state.regs.rax.to_le_bytes(), [2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(state.sregs.cs.base.to_le_bytes(), [3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(state.events.exception.injected, 4);
    assert_eq!(state.mp_state.mp_state.to_le_bytes(), [5, 6, 7, 8]);
    assert_eq!(state.debugregs.db[0].to_le_bytes(), [6, 7, 8, 9, 10, 11, 12, 13]);
    assert_eq!(state.xcrs.nr_xcrs.to_le_bytes(), [7, 8, 9, 10]);
    assert_eq!(state.xsave[0].to_le_bytes(), [8, 9, 10, 11]);
    assert_eq!(state.lapic.regs[..2], [9, 10]);
    assert_eq!(state.msrs[0].index.to_le_bytes(), [10, 11, 12, 13]);
}

#[test]
fn serialised_sections_have_the_documented_bytes() {
    // Option: one byte, then the value; integers: seven bits a byte, lowest first, the top bit says that more follow.
    let expected = [
        &[1, 0x80, 0x80, 0x40][..],
        &[4, 0xac, 0x02],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x20],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10],
        &[0x80, 0x80, 0x40],
    ];
    assert_eq!(postcard::to_stdvec(&GENERATION).unwrap(), expected.concat());
    let ioapic = postcard::to_stdvec(&ioapic()).unwrap();
    assert_eq!(ioapic[..5], [0x80, 0x80, 0x80, 0x08, 0x1c]);
    assert_eq!(ioapic[5..8], [0x81, 0x80, 0x04]);
}

#[test]
fn a_vcpu_section_that_is_cut_or_too_long_is_refused() {
    let whole = vcpu();
    for len in 0..whole.len() {
        assert!(VcpuSection::decode(&whole[..len]).is_err(), "{len}");
    }
    let longer = [whole.as_slice(), &[0]].concat();
    let error = VcpuSection::decode(&longer).unwrap_err();
    assert_eq!(
        error,
        SectionError {
            what: "vCPU section",
            found: 1,
            expected: 0
        }
    );
}
