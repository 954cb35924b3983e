//! An instance asleep: its memory image, its state, and the streams that stay open meanwhile.

use std::path::Path;
use std::sync::Arc;

use snapshot::{
    CompactImage, MemoryImage, PageRuns, RamError, RamImage, SaveOptions, Saved, Section, SectionKind,
    Snapshot,
};
use vm_memory::{GuestAddress, GuestMemoryMmap};
use vmm_core::{DetachedStreams, StateError, StateKind, StateSection, VmState};

/// An instance asleep. Takes no memory but this.
#[derive(Debug)]
pub(super) struct ParkedVm {
    pub(super) memory: SavedMemory,
    pub(super) state: Arc<VmState>,
    pub(super) streams: DetachedStreams,
    /// How often it has woken.
    pub(super) wakes: u32,
    pub(super) origin: Origin,
}

/// What an instance was first started from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The service's snapshot.
    Template,
    /// What an earlier run of the platform has kept.
    Kept,
    /// The image: it was booted.
    Image,
}

/// A sleeping instance's memory.
#[derive(Debug)]
pub(super) enum SavedMemory {
    /// Little: copied into a shell whose pages were touched ahead.
    Compact(CompactImage),
    /// More: mapped, and what it touched the last time populated.
    Mapped { image: RamImage, working_set: PageRuns },
}

/// More than this is mapped, not copied, and left to page faults, not populated: it would delay the first byte.
const AHEAD_MAX_BYTES: u64 = 1 << 20;

impl SavedMemory {
    /// A snapshot's memory, for an instance to go on from.
    pub(super) fn from_snapshot(snapshot: &Snapshot) -> Result<Self, RamError> {
        Ok(match CompactImage::from_snapshot(snapshot, AHEAD_MAX_BYTES)? {
            Some(image) => Self::Compact(image),
            None => Self::Mapped {
                image: RamImage::from_snapshot(snapshot)?,
                working_set: PageRuns::default(),
            },
        })
    }

    /// The memory of a paused VM.
    pub(super) fn capture(memory: &GuestMemoryMmap) -> Result<Self, RamError> {
        Ok(match CompactImage::capture(memory, AHEAD_MAX_BYTES)? {
            Some(image) => Self::Compact(image),
            None => Self::Mapped {
                image: RamImage::capture(memory, Vec::new())?,
                working_set: PageRuns::default(),
            },
        })
    }

    pub(super) fn resident_bytes(&self) -> Result<u64, RamError> {
        match self {
            Self::Compact(image) => Ok(image.resident_bytes()),
            Self::Mapped { image, .. } => image.resident_bytes(),
        }
    }

    /// Writes it to `path` as a snapshot with `sections`.
    pub(super) fn persist(
        &self,
        path: &Path,
        sections: &[Section],
        options: SaveOptions<'_>,
    ) -> Result<Saved, snapshot::SaveError> {
        match self {
            Self::Compact(image) => image.persist(path, sections, options),
            Self::Mapped { image, .. } => image.persist_with(path, sections, options),
        }
    }
}

/// `pages` if they are few enough to be worth touching or populating ahead.
pub(super) fn worth_having_ahead(pages: PageRuns) -> PageRuns {
    if pages.total_bytes() <= AHEAD_MAX_BYTES {
        pages
    } else {
        PageRuns::default()
    }
}

/// `image` as `vmm-core` maps it, with `working_set` to be populated.
pub(super) fn mappable(image: &MemoryImage, working_set: &PageRuns) -> vmm_core::MemoryImage {
    let regions = image.regions.iter();
    let regions = regions.map(|region| (region.gpa, region.len_bytes, region.file_offset));
    vmm_core::MemoryImage::of_file(&image.file, regions).populated(ranges(working_set))
}

/// `pages` as `vmm-core` takes them.
pub(super) fn ranges(pages: &PageRuns) -> Vec<(GuestAddress, u64)> {
    pages.iter().map(|run| (run.gpa, run.len_bytes)).collect()
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
