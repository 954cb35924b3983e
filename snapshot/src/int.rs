//! Conversions that cannot fail on the hosts this crate is for.

const _: () = assert!(
    usize::BITS == 64,
    "guest memory is mapped whole: a 64-bit host is needed"
);

/// A length or offset as an index into memory.
pub(crate) fn to_usize(value: u64) -> usize {
    usize::try_from(value).expect("usize has 64 bits, asserted at compile time")
}

/// A length in memory as a length in a file.
pub(crate) const fn to_u64(value: usize) -> u64 {
    value as u64
}
