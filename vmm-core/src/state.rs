//! A VM's state but its memory: one value, and its bytes as versioned sections.
//!
//! The bytes come from files and peers and are untrusted: every length is checked here, every value by who uses it.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::devices::generation::GenerationState;
use crate::devices::ioapic::IoApicState;
use crate::net_port::NetState;
use crate::vcpu::VcpuState;

/// Everything of a paused VM that is not in its memory. Only useful together with the memory of the same pause.
///
/// Cheap to keep; [`to_sections`](Self::to_sections) makes bytes of it for files and peers.
#[derive(Debug, Clone)]
pub struct VmState {
    pub(crate) memory_bytes: u64,
    pub(crate) vcpu: VcpuState,
    pub(crate) ioapic: IoApicState,
    pub(crate) generation: GenerationState,
    pub(crate) net: Option<NetState>,
}

/// One part of a VM's state as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateSection {
    /// What it is; see [`StateKind`].
    pub kind: StateKind,
    /// Version of the bytes' layout.
    pub version: u16,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Kinds of sections; the numbers are part of the format (docs/vm-state.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u32)]
pub enum StateKind {
    /// Memory size.
    Machine = 1,
    /// vCPU 0.
    Vcpu = 2,
    /// I/O APIC.
    IoApic = 3,
    /// Generation device.
    Generation = 4,
    /// virtio-net and its link.
    Net = 5,
}

impl StateKind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Machine),
            2 => Some(Self::Vcpu),
            3 => Some(Self::IoApic),
            4 => Some(Self::Generation),
            5 => Some(Self::Net),
            _ => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// Version of the layout that this crate writes, and the only one it reads.
    const fn version(self) -> u16 {
        match self {
            Self::Machine | Self::Vcpu | Self::IoApic | Self::Net => 1,
            Self::Generation => 2,
        }
    }
}

/// State bytes that cannot be this crate's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A part is missing.
    #[error("VM state has no {kind:?} section")]
    Missing {
        /// Which.
        kind: StateKind,
    },
    /// A part is there twice.
    #[error("VM state has two {kind:?} sections")]
    Duplicate {
        /// Which.
        kind: StateKind,
    },
    /// A part was written by another version.
    #[error("{kind:?} section has version {found}, this build reads {}", .kind.version())]
    Version {
        /// Which part.
        kind: StateKind,
        /// Its version.
        found: u16,
    },
    /// A part ends early, goes on too long, or holds a block of another size.
    #[error("{what}: {found} bytes where {expected} belong")]
    Size {
        /// Which block.
        what: &'static str,
        /// Bytes there.
        found: usize,
        /// Bytes that should be there.
        expected: usize,
    },
    /// A value that cannot be.
    #[error("{what}: impossible value")]
    Value {
        /// Which value.
        what: &'static str,
    },
    /// A serialised part does not decode.
    #[error("{what}: does not decode")]
    Decode {
        /// Which part.
        what: &'static str,
        /// Why.
        #[source]
        source: postcard::Error,
    },
}

impl VmState {
    /// Bytes of RAM that the VM had.
    #[must_use]
    pub const fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// The state as bytes: some 12 KiB.
    ///
    /// # Errors
    /// A part does not encode, which only running out of memory can cause.
    pub fn to_sections(&self) -> Result<Vec<StateSection>, StateError> {
        let section = |kind: StateKind, bytes| StateSection {
            kind,
            version: kind.version(),
            bytes,
        };
        let mut vcpu = BlocksMut::default();
        self.vcpu.encode(&mut vcpu);
        let mut sections = vec![
            section(StateKind::Machine, self.memory_bytes.to_le_bytes().to_vec()),
            section(StateKind::Vcpu, vcpu.0),
            section(StateKind::IoApic, encode("I/O APIC", &self.ioapic)?),
            section(
                StateKind::Generation,
                encode("generation device", &self.generation)?,
            ),
        ];
        if let Some(net) = &self.net {
            sections.push(section(StateKind::Net, encode("virtio-net", net)?));
        }
        Ok(sections)
    }

    /// The state that [`to_sections`](Self::to_sections) made these bytes from.
    ///
    /// # Errors
    /// A part is missing, twice there, of another version, or not what it should be.
    pub fn from_sections(sections: &[StateSection]) -> Result<Self, StateError> {
        let machine = find(sections, StateKind::Machine)?.ok_or(StateError::Missing {
            kind: StateKind::Machine,
        })?;
        let mut blocks = Blocks(require(sections, StateKind::Vcpu)?);
        let vcpu = VcpuState::decode(&mut blocks)?;
        blocks.end("vCPU section")?;
        let memory_bytes = machine
            .try_into()
            .map(u64::from_le_bytes)
            .map_err(|_| StateError::Size {
                what: "machine section",
                found: machine.len(),
                expected: 8,
            })?;
        let net = find(sections, StateKind::Net)?;
        Ok(Self {
            memory_bytes,
            vcpu,
            ioapic: decode("I/O APIC", require(sections, StateKind::IoApic)?)?,
            generation: decode("generation device", require(sections, StateKind::Generation)?)?,
            net: net.map(|bytes| decode("virtio-net", bytes)).transpose()?,
        })
    }
}

fn require(sections: &[StateSection], kind: StateKind) -> Result<&[u8], StateError> {
    find(sections, kind)?.ok_or(StateError::Missing { kind })
}

fn find(sections: &[StateSection], kind: StateKind) -> Result<Option<&[u8]>, StateError> {
    let mut of_kind = sections.iter().filter(|section| section.kind == kind);
    let Some(section) = of_kind.next() else {
        return Ok(None);
    };
    if of_kind.next().is_some() {
        return Err(StateError::Duplicate { kind });
    }
    if section.version != kind.version() {
        return Err(StateError::Version {
            kind,
            found: section.version,
        });
    }
    Ok(Some(&section.bytes))
}

fn encode<T: serde::Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, StateError> {
    postcard::to_stdvec(value).map_err(|source| StateError::Decode { what, source })
}

fn decode<T: serde::de::DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, StateError> {
    let (value, rest) =
        postcard::take_from_bytes(bytes).map_err(|source| StateError::Decode { what, source })?;
    if !rest.is_empty() {
        return Err(StateError::Size {
            what,
            found: bytes.len(),
            expected: bytes.len() - rest.len(),
        });
    }
    Ok(value)
}

/// Blocks of bytes, each behind its length (u32, little-endian).
#[derive(Debug, Default)]
pub(crate) struct BlocksMut(Vec<u8>);

impl BlocksMut {
    pub(crate) fn put(&mut self, block: &[u8]) {
        let len = u32::try_from(block.len()).expect("blocks are kernel structures of some KiB");
        self.0.extend_from_slice(&len.to_le_bytes());
        self.0.extend_from_slice(block);
    }
}

/// Reads what [`BlocksMut`] wrote.
#[derive(Debug)]
pub(crate) struct Blocks<'a>(&'a [u8]);

impl<'a> Blocks<'a> {
    fn block(&mut self, what: &'static str) -> Result<&'a [u8], StateError> {
        let short = |found, expected| StateError::Size {
            what,
            found,
            expected,
        };
        let (len, rest) = self.0.split_first_chunk().ok_or(short(self.0.len(), 4))?;
        let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| StateError::Value { what })?;
        let (block, rest) = rest.split_at_checked(len).ok_or(short(rest.len(), len))?;
        self.0 = rest;
        Ok(block)
    }

    /// The next block as one `T`.
    pub(crate) fn value<T: FromBytes>(&mut self, what: &'static str) -> Result<T, StateError> {
        let block = self.block(what)?;
        T::read_from_bytes(block).map_err(|_| StateError::Size {
            what,
            found: block.len(),
            expected: size_of::<T>(),
        })
    }

    /// The next block as at most `max` `T`s.
    pub(crate) fn list<T: FromBytes + IntoBytes + Immutable>(
        &mut self,
        what: &'static str,
        max: usize,
    ) -> Result<Vec<T>, StateError> {
        let block = self.block(what)?;
        let wrong = |expected| StateError::Size {
            what,
            found: block.len(),
            expected,
        };
        if block.len() > max * size_of::<T>() {
            return Err(wrong(max * size_of::<T>()));
        }
        let items = block.chunks_exact(size_of::<T>());
        if !items.remainder().is_empty() {
            return Err(wrong(block.len() - items.remainder().len()));
        }
        items
            .map(|item| T::read_from_bytes(item).map_err(|_| wrong(size_of::<T>())))
            .collect()
    }

    /// Nothing may be left.
    fn end(&self, what: &'static str) -> Result<(), StateError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(StateError::Size {
                what,
                found: self.0.len(),
                expected: 0,
            })
        }
    }
}

#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
#[cfg(any(test, feature = "fuzz"))]
pub use fuzz::fuzz_state;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_and_nothing_more() {
        let mut out = BlocksMut::default();
        out.put(&7_u64.to_le_bytes());
        out.put(&[1, 0, 2, 0]);
        let mut blocks = Blocks(&out.0);
        assert_eq!(blocks.value::<u64>("n").unwrap(), 7);
        assert_eq!(blocks.list::<u16>("list", 2).unwrap(), [1, 2]);
        blocks.end("all").unwrap();
        assert!(matches!(blocks.value::<u8>("more"), Err(StateError::Size { .. })));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for bytes in [
            &[9, 0, 0, 0, 1][..],
            &[255, 255, 255, 255],
            &[1, 0],
            &[3, 0, 0, 0, 1, 2, 3],
        ] {
            assert!(Blocks(bytes).list::<u16>("list", 8).is_err(), "{bytes:?}");
        }
        let mut out = BlocksMut::default();
        out.put(&[0; 6]);
        assert!(Blocks(&out.0).list::<u16>("list", 2).is_err());
        assert!(Blocks(&out.0).value::<u64>("value").is_err());
    }

    #[test]
    fn sections_are_found_once_and_in_their_version() {
        let section = |version| StateSection {
            kind: StateKind::Machine,
            version,
            bytes: vec![1],
        };
        assert_eq!(find(&[section(1)], StateKind::Machine).unwrap(), Some(&[1][..]));
        assert!(matches!(
            find(&[section(2)], StateKind::Machine),
            Err(StateError::Version { found: 2, .. })
        ));
        assert!(matches!(
            find(&[section(1), section(1)], StateKind::Machine),
            Err(StateError::Duplicate { .. })
        ));
        assert!(matches!(
            require(&[], StateKind::Vcpu),
            Err(StateError::Missing { .. })
        ));
    }
}
