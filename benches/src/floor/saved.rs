//! The saved guest as the floor restores it: everything that can be made ready ahead is.

use std::fs::File;
use std::sync::Arc;

use anyhow::{Context, ensure};
use kvm_bindings::{CpuId, KVM_MAX_MSR_ENTRIES, Msrs, kvm_lapic_state, kvm_xsave};
use vmm_core::StateKind;

use super::section::{GenerationSection, IoApicSection, VcpuSection};
use crate::Subject;

/// Bytes of the generation page that a restore changes: sequence, restores, generation id (docs/guest-abi.md).
const STAMP_BYTES: usize = 24;

/// First of the interrupt request registers.
const IRR: usize = 0x200;
/// I/O APIC pin of the generation device (docs/guest-abi.md).
const GENERATION_PIN: usize = 6;

/// The saved guest, decoded.
#[derive(Debug)]
pub struct Saved {
    pub(super) vcpu: VcpuSection,
    pub(super) cpuid: CpuId,
    pub(super) xsave: Box<kvm_xsave>,
    pub(super) msrs: Vec<Msrs>,
    /// The local APIC with the generation interrupt pending.
    pub(super) lapic: Box<kvm_lapic_state>,
    /// The memfd and where in it the guest's memory begins.
    pub(super) file: Arc<File>,
    pub(super) file_offset: u64,
    pub(super) memory_bytes: usize,
    /// Ranges (first byte, bytes) that a wake of this guest writes.
    pub(super) working_set: Vec<(usize, usize)>,
    /// Where the guest learns that it was restored.
    pub(super) page: usize,
    pub(super) stamp: [u8; STAMP_BYTES],
}

impl Saved {
    /// Decodes what `subject` has saved.
    ///
    /// # Errors
    /// The sections are not those of docs/vm-state.md, or the guest is not the demo guest at rest.
    pub fn of(subject: &Subject) -> anyhow::Result<Self> {
        let section = |kind: StateKind| {
            let found = subject.sections().iter().find(|section| section.kind == kind);
            let section = found.with_context(|| format!("no {kind:?} section"))?;
            let (found, reads) = (section.version, if kind == StateKind::Generation { 2 } else { 1 });
            ensure!(
                found == reads,
                "{kind:?} section has version {found}, the floor reads {reads}"
            );
            Ok(section.bytes.as_slice())
        };
        let vcpu = VcpuSection::decode(section(StateKind::Vcpu)?)?;
        let ioapic: IoApicSection =
            postcard::from_bytes(section(StateKind::IoApic)?).context("decode the I/O APIC")?;
        let mut lapic = vcpu.lapic.clone();
        raise(&mut lapic, ioapic.entries[GENERATION_PIN])?;
        let generation: GenerationSection =
            postcard::from_bytes(section(StateKind::Generation)?).context("decode the generation device")?;
        let [region] = subject.memory().regions.as_slice() else {
            anyhow::bail!("the floor restores guests with one region of memory");
        };
        let msrs = vcpu
            .msrs
            .chunks(KVM_MAX_MSR_ENTRIES)
            .map(Msrs::from_entries)
            .collect::<Result<_, _>>();
        let page = generation
            .page
            .context("the guest has registered no generation page")?;
        Ok(Self {
            cpuid: CpuId::from_entries(&vcpu.cpuid).context("more CPUID entries than KVM takes")?,
            xsave: Box::new(kvm_xsave {
                region: *vcpu.xsave,
                ..kvm_xsave::default()
            }),
            msrs: msrs.context("more MSRs than KVM takes")?,
            lapic,
            file: Arc::clone(region.file.arc()),
            file_offset: region.file.start(),
            memory_bytes: usize::try_from(region.len_bytes)?,
            working_set: subject
                .memory()
                .populate
                .iter()
                .map(|&(gpa, len)| Ok((usize::try_from(gpa.0)?, usize::try_from(len)?)))
                .collect::<anyhow::Result<_>>()?,
            page: usize::try_from(page)?,
            stamp: stamp(&generation),
            vcpu,
        })
    }
}

/// Makes the interrupt of a redirection entry pending in `lapic`, as if its pin had been pulsed (Intel SDM 3A, "Interrupt
/// Acceptance for Fixed Interrupts").
fn raise(lapic: &mut kvm_lapic_state, entry: u64) -> anyhow::Result<()> {
    let masked = entry & 1 << 16 != 0;
    ensure!(
        !masked,
        "the guest has masked the generation interrupt: was it not told to mark its resumption?"
    );
    let [vector, ..] = entry.to_le_bytes();
    let register = IRR + usize::from(vector / 32) * 16 + usize::from(vector % 32 / 8);
    let byte = lapic
        .regs
        .get_mut(register)
        .context("the local APIC has 1 KiB of registers")?;
    *byte = libc::c_char::from_ne_bytes([byte.to_ne_bytes()[0] | 1 << (vector % 8)]);
    Ok(())
}

fn stamp(saved: &GenerationSection) -> [u8; STAMP_BYTES] {
    let mut stamp = [0; STAMP_BYTES];
    let (sequence, restores) = (saved.sequence.wrapping_add(2), saved.restores.wrapping_add(1));
    stamp[..4].copy_from_slice(&sequence.to_le_bytes());
    stamp[4..8].copy_from_slice(&restores.to_le_bytes());
    stamp[8..].copy_from_slice(&u128::MAX.to_le_bytes());
    stamp
}
