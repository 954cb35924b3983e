#![doc = include_str!("../README.md")]

mod check;
mod dirty;
mod fingerprint;
mod format;
mod id;
mod image;
mod int;
mod load;
mod memory;
mod page_runs;
mod ram;
mod save;
mod section;

pub use check::{Host, Mismatch, check};
pub use dirty::{private_pages, touched_pages};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use format::{
    Architecture, FORMAT_VERSION, FormatError, GROUP_BYTES, HEADER_BYTES, Header, MAX_FINGERPRINT_BYTES,
    MAX_MEMORY_BYTES, MAX_REGIONS, MAX_RUNS, MAX_SECTION_BYTES, MAX_SECTIONS, Part,
};
pub use id::SnapshotId;
pub use image::{ImageRegion, MapError, MemoryImage};
pub use load::{LoadError, Snapshot};
pub use memory::MemoryError;
pub use page_runs::{PageRun, PageRuns};
pub use ram::{AbsorbError, Absorbed, CompactImage, Poisoned, RamError, RamImage};
pub use save::{Overwrite, Progress, SaveError, SaveOptions, Saved, clean_stale, save};
pub use section::{Section, SectionKind};
