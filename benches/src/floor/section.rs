//! The sections of a VM's state that the floor needs, decoded from their bytes (docs/vm-state.md).

use kvm_bindings::{
    kvm_cpuid_entry2, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_sregs,
    kvm_vcpu_events, kvm_xcrs,
};
use serde::{Deserialize, Serialize};
use zerocopy::FromBytes;

/// What a vCPU held.
#[derive(Debug, Clone)]
pub struct VcpuSection {
    /// CPUID table.
    pub cpuid: Vec<kvm_cpuid_entry2>,
    /// General registers.
    pub regs: kvm_regs,
    /// Special registers.
    pub sregs: kvm_sregs,
    /// Pending exceptions and interrupts.
    pub events: kvm_vcpu_events,
    /// Running, or halted.
    pub mp_state: kvm_mp_state,
    /// Debug registers.
    pub debugregs: kvm_debugregs,
    /// Extended control registers.
    pub xcrs: kvm_xcrs,
    /// The 4 KiB XSAVE area.
    pub xsave: Box<[u32; 1024]>,
    /// Local APIC registers.
    pub lapic: Box<kvm_lapic_state>,
    /// Model specific registers, but the time stamp counter and its adjustment.
    pub msrs: Vec<kvm_msr_entry>,
}

/// What the guest has written to the I/O APIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoApicSection {
    /// ID register.
    pub id: u32,
    /// Selected register.
    pub select: u8,
    /// Redirection entries.
    pub entries: [u64; 24],
}

/// The generation device between two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationSection {
    /// GPA of the guest's page, if it has registered one.
    pub page: Option<u64>,
    /// The page's sequence number.
    pub sequence: u32,
    /// Restores since boot.
    pub restores: u32,
    /// Guest time at the save.
    pub monotonic_ns: u64,
    /// UTC at the save.
    pub realtime_ns: u64,
    /// The half of a page's address that was written and waits for the other.
    pub page_low: u32,
}

/// Bytes that are no such section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("decode {what}: {found} bytes where {expected} belong")]
pub struct SectionError {
    /// Which block.
    pub what: &'static str,
    /// Bytes there.
    pub found: usize,
    /// Bytes that should be there.
    pub expected: usize,
}

/// What is left of a section.
struct Blocks<'a>(&'a [u8]);

impl<'a> Blocks<'a> {
    fn next(&mut self, what: &'static str) -> Result<&'a [u8], SectionError> {
        let short = |found, expected| SectionError {
            what,
            found,
            expected,
        };
        let (len, rest) = self.0.split_first_chunk().ok_or(short(self.0.len(), 4))?;
        let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| short(rest.len(), usize::MAX))?;
        let (block, rest) = rest.split_at_checked(len).ok_or(short(rest.len(), len))?;
        self.0 = rest;
        Ok(block)
    }

    fn value<T: FromBytes>(&mut self, what: &'static str) -> Result<T, SectionError> {
        let block = self.next(what)?;
        T::read_from_bytes(block).map_err(|_| SectionError {
            what,
            found: block.len(),
            expected: size_of::<T>(),
        })
    }

    fn list<T: FromBytes>(&mut self, what: &'static str) -> Result<Vec<T>, SectionError> {
        let block = self.next(what)?;
        let whole = block.len() / size_of::<T>() * size_of::<T>();
        let wrong = |_| SectionError {
            what,
            found: block.len(),
            expected: whole,
        };
        let (items, rest) = block.split_at(whole);
        if !rest.is_empty() {
            return Err(wrong(()));
        }
        items
            .chunks(size_of::<T>())
            .map(|item| T::read_from_bytes(item).map_err(|_| wrong(())))
            .collect()
    }
}

impl VcpuSection {
    /// Decodes a vCPU section, version 1.
    ///
    /// # Errors
    /// A block has another size than its structure, or bytes are left over.
    pub fn decode(bytes: &[u8]) -> Result<Self, SectionError> {
        let mut blocks = Blocks(bytes);
        let section = Self {
            cpuid: blocks.list("CPUID")?,
            regs: blocks.value("registers")?,
            sregs: blocks.value("special registers")?,
            events: blocks.value("events")?,
            mp_state: blocks.value("run state")?,
            debugregs: blocks.value("debug registers")?,
            xcrs: blocks.value("extended control registers")?,
            xsave: Box::new(blocks.value("XSAVE area")?),
            lapic: Box::new(blocks.value("local APIC")?),
            msrs: blocks.list("MSRs")?,
        };
        match blocks.0.len() {
            0 => Ok(section),
            found => Err(SectionError {
                what: "vCPU section",
                found,
                expected: 0,
            }),
        }
    }
}
