//! Frames on the private link: how they are read and written.
//!
//! Everything from the guest is untrusted. A frame is parsed in place from one copy; what does not parse is counted and
//! dropped.

pub(crate) mod arp;
pub(crate) mod checksum;
pub(crate) mod ethernet;
pub(crate) mod icmp;
pub(crate) mod ipv4;
pub(crate) mod tcp;

/// A frame of the guest does not parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// Too short, or a length or version field is wrong.
    Shape,
    /// A checksum is wrong.
    Checksum,
}
