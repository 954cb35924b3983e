use proptest::prelude::*;

use super::*;
use crate::format::testing::{assert_refused, header};

/// The header with `bytes` written at `offset`, and a checksum that is right again.
fn patched(offset: usize, bytes: &[u8]) -> Result<Header, FormatError> {
    let mut header = header().encode();
    header[offset..offset + bytes.len()].copy_from_slice(bytes);
    header[16..20].fill(0);
    let crc = crc32fast::hash(&header);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    Header::decode(&header)
}

#[test]
fn what_is_encoded_is_decoded() {
    assert_eq!(Header::decode(&header().encode()), Ok(header()));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = header().encode();
    for index in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes;
            damaged[index] ^= 1 << bit;
            assert!(Header::decode(&damaged).is_err(), "byte {index:#x} bit {bit}");
        }
    }
}

#[test]
fn each_tripwire_has_its_own_error() {
    assert_eq!(
        patched(0, b"PK\x03\x04"),
        Err(FormatError::NotASnapshot {
            found: b"PK\x03\x04NAP\n".into()
        })
    );
    assert_eq!(
        patched(8, &[0x0a, 0x0b, 0x0c, 0x0d]),
        Err(FormatError::ForeignByteOrder)
    );
    assert_eq!(
        patched(12, &[2]),
        Err(FormatError::NewerVersion {
            found: 2,
            supported: 1
        })
    );
    assert_eq!(
        patched(12, &[0]),
        Err(FormatError::OlderVersion {
            found: 0,
            supported: 1
        })
    );
    assert_refused(patched(8, &[1]), "byte order");
    let mut damaged = header().encode();
    damaged[12] = 2;
    assert!(matches!(
        Header::decode(&damaged),
        Err(FormatError::Checksum {
            part: Part::Header,
            ..
        })
    ));
}

#[test]
fn reserved_bytes_must_be_zero() {
    for at in (100..128).chain(320..2048) {
        assert_refused(patched(at, &[1]), "reserved");
    }
    for at in 128 + 2 * 24..320 {
        assert_refused(patched(at, &[1]), "unused region");
    }
    assert_refused(patched(4095, &[1]), "host fingerprint length");
}

#[test]
fn fields_that_contradict_each_other_or_a_limit_are_refused() {
    let cases: [(usize, u64, &str); 17] = [
        (24, 4097, "page size"),
        (24, 2048, "page size"),
        (24, 4 << 20, "page size"),
        (28, 0, "region count"),
        (28, 9, "region count"),
        (64, 0x2000, "section table offset"),
        (72, 1025, "section count"),
        (80, 0x60_0000, "page map offset"),
        (88, (1 << 22) + 1, "run count"),
        (96, 2049, "host fingerprint length"),
        (56, 0x1000, "file length"),
        (128, 0x800, "region GPA"),
        (136, 0x1_0001, "region length"),
        (136, 0, "region length"),
        (144, 0x20_1000, "region file offset"),
        (152, 0x1f_f000, "region GPA"),
        (168, 0x80_0000, "region file offset"),
    ];
    for (offset, value, what) in cases {
        let len = if (24..32).contains(&offset) || matches!(offset, 72 | 88 | 96) {
            4
        } else {
            8
        };
        assert_refused(patched(offset, &value.to_le_bytes()[..len]), what);
    }
}

#[test]
fn memory_that_is_too_large_or_wraps_is_refused() {
    let size = |value: u64| patched(152 + 8, &value.to_le_bytes());
    assert_refused(size(MAX_MEMORY_BYTES), "region length");
    assert_refused(size(u64::MAX - 4095), "region length");
    let gpa = |value: u64| patched(152, &value.to_le_bytes());
    assert_refused(gpa(u64::MAX - 4095), "region length");
}

proptest! {
    #[test]
    fn any_bytes_with_a_right_checksum_are_decoded_or_refused(
        patches in proptest::collection::vec((20_usize..400, any::<[u8; 8]>()), 1..8),
    ) {
        let mut bytes = header().encode();
        for (offset, patch) in patches {
            bytes[offset..offset + 8].copy_from_slice(&patch);
        }
        bytes[16..20].fill(0);
        let crc = crc32fast::hash(&bytes);
        bytes[16..20].copy_from_slice(&crc.to_le_bytes());
        if let Ok(header) = Header::decode(&bytes) {
            prop_assert_eq!(header.encode(), bytes);
        }
    }
}
