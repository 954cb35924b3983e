//! The bytes of saved state, as docs/vm-state.md has them. No KVM is needed to read or write them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use vmm_core::{StateError, StateKind, StateSection, VmState};

/// An integer as postcard writes it: seven bits a byte, the lowest first.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
    bytes
}

fn varints(values: &[u64]) -> Vec<u8> {
    values.iter().copied().flat_map(varint).collect()
}

/// A block of `len` bytes that are its own.
fn block(number: u8, len: u32) -> Vec<u8> {
    let mut bytes = len.to_le_bytes().to_vec();
    bytes.resize(4 + usize::try_from(len).unwrap(), number);
    bytes
}

fn vcpu() -> Vec<u8> {
    let lengths = [3 * 40, 144, 312, 64, 4, 128, 392, 4096, 1024, 5 * 16];
    (1..)
        .zip(lengths)
        .flat_map(|(number, len)| block(number, len))
        .collect()
}

fn io_apic() -> Vec<u8> {
    let mut bytes = varint(0x0f00_0000);
    bytes.push(0x3f);
    for pin in 0..24 {
        bytes.extend(varint(pin << 56 | 1 << 16 | pin));
    }
    bytes
}

fn generation() -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend(varints(&[
        0x20_0000,
        6,
        2,
        5_000_000_000,
        1_700_000_000_000_000_000,
        0x3000,
    ]));
    bytes
}

fn net() -> Vec<u8> {
    // Transport: network card, running, features, pages, queue, no change of configuration, two queues.
    let mut bytes = varints(&[1, 4, (1 << 32) | (1 << 5), 1, 1, 1]);
    bytes.extend([0, 2]);
    for queue in 1..=2 {
        bytes.extend(varint(256));
        bytes.push(1);
        bytes.extend(varints(&[
            queue << 20,
            (queue << 20) + 0x1000,
            (queue << 20) + 0x2000,
            300,
            299,
        ]));
    }
    // Link: next port, next sequence number, one answer of three bytes, one connection.
    bytes.extend(varints(&[10_242, 123_456]));
    bytes.extend([1, 3, 9, 8, 7, 1]);
    // A stream; open in both directions; ports; sequence numbers.
    bytes.extend([1, 1, 0, 0]);
    bytes.extend(varints(&[
        10_241, 80, 1_000, 1_002, 1_002, 4_096, 77, 1_000, 500, 66_035, 1_460,
    ]));
    // An acknowledgement is due; two bytes to the guest, one to the host.
    bytes.extend([1, 2, b'G', b'E', 1, b'H']);
    bytes
}

fn sections() -> Vec<StateSection> {
    let section = |kind: u32, bytes| StateSection {
        kind: StateKind::from_number(kind).unwrap(),
        version: if kind == 4 { 2 } else { 1 },
        bytes,
    };
    vec![
        section(1, (64_u64 << 20).to_le_bytes().to_vec()),
        section(2, vcpu()),
        section(3, io_apic()),
        section(4, generation()),
        section(5, net()),
    ]
}

#[test]
fn documented_bytes_are_read_and_written() {
    let state = VmState::from_sections(&sections()).unwrap();
    assert_eq!(state.memory_bytes(), 64 << 20);
    assert_eq!(state.to_sections().unwrap(), sections());
}

#[test]
fn a_vm_without_a_network_has_four_sections() {
    let mut sections = sections();
    sections.pop();
    let state = VmState::from_sections(&sections).unwrap();
    assert_eq!(state.to_sections().unwrap(), sections);
}

#[test]
fn another_version_is_refused_by_name() {
    for index in 0..5 {
        let mut sections = sections();
        let ours = sections[index].version;
        for other in [ours - 1, ours + 1] {
            sections[index].version = other;
            let error = VmState::from_sections(&sections).unwrap_err();
            assert!(
                matches!(error, StateError::Version { found, .. } if found == other),
                "{error}"
            );
            let said = format!("section has version {other}, this build reads {ours}");
            assert!(error.to_string().ends_with(&said), "{error}");
        }
    }
}

#[test]
fn kinds_have_the_documented_numbers() {
    use StateKind::{Generation, IoApic, Machine, Net, Vcpu};
    assert_eq!(
        [Machine, Vcpu, IoApic, Generation, Net].map(StateKind::number),
        [1, 2, 3, 4, 5]
    );
    for number in [0, 6, u32::MAX] {
        assert_eq!(StateKind::from_number(number), None);
    }
}
