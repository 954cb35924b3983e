//! An instance asleep: its memory image, its state, and the streams that stay open meanwhile.

use std::sync::Arc;

use snapshot::{MemoryImage, PageRuns, RamImage, Section, SectionKind};
use vm_memory::FileOffset;
use vmm_core::{DetachedStreams, ImageRegion, StateError, StateKind, StateSection, VmState};

/// An instance asleep. Takes no memory but this.
#[derive(Debug)]
pub(super) struct ParkedVm {
    pub(super) image: RamImage,
    pub(super) state: Arc<VmState>,
    pub(super) streams: DetachedStreams,
    /// What it touched the last time it was awake, and so will touch again.
    pub(super) working_set: PageRuns,
    /// How often it has woken.
    pub(super) wakes: u32,
}

/// `image` as `vmm-core` maps it, with `working_set` to be populated.
pub(super) fn mappable(image: &MemoryImage, working_set: &PageRuns) -> vmm_core::MemoryImage {
    let region = |region: &snapshot::ImageRegion| ImageRegion {
        gpa: region.gpa,
        len_bytes: region.len_bytes,
        file: FileOffset::from_arc(Arc::clone(&image.file), region.file_offset),
    };
    let regions = image.regions.iter().map(region).collect();
    let populate = working_set.iter().map(|run| (run.gpa, run.len_bytes)).collect();
    vmm_core::MemoryImage { regions, populate }
}

/// VM state as the snapshot crate keeps it.
pub(super) fn to_sections(state: &VmState) -> Result<Vec<Section>, StateError> {
    let section = |section: StateSection| Section {
        kind: SectionKind(section.kind.number()),
        version: section.version,
        bytes: section.bytes,
    };
    Ok(state.to_sections()?.into_iter().map(section).collect())
}

/// VM state from what the snapshot crate has kept. Sections of unknown kinds are a later version's and refused.
pub(super) fn from_sections(sections: &[Section]) -> Result<VmState, FromSectionsError> {
    let section = |section: &Section| {
        let kind = StateKind::from_number(section.kind.0)
            .ok_or(FromSectionsError::UnknownKind { kind: section.kind.0 })?;
        Ok(StateSection {
            kind,
            version: section.version,
            bytes: section.bytes.clone(),
        })
    };
    let sections = sections
        .iter()
        .map(section)
        .collect::<Result<Vec<_>, FromSectionsError>>()?;
    Ok(VmState::from_sections(&sections)?)
}

/// Sections that are no VM state of this version.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FromSectionsError {
    /// A section that this version does not know, and so must not leave out.
    #[error("state section {kind:#x} is unknown to this version")]
    UnknownKind {
        /// Its number.
        kind: u32,
    },
    /// The known ones are wrong.
    #[error(transparent)]
    State(#[from] StateError),
}
