use std::fmt;

/// What a section holds. The numbers belong to the caller; this crate only keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SectionKind(pub u32);

impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// One piece of state saved beside the memory: a vCPU, a device, a clock.
///
/// Several sections may share a kind; their order is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What `bytes` holds.
    pub kind: SectionKind,
    /// Version of the encoding of `bytes`, by which its owner tells old from new.
    pub version: u16,
    /// The encoded state. Untrusted when it comes from a file: a checksum is no signature.
    pub bytes: Vec<u8>,
}
