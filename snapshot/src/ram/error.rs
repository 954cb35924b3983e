use std::io;

use crate::format::FormatError;
use crate::image::MapError;
use crate::load::LoadError;
use crate::memory::MemoryError;

/// The image in RAM is a mixture of two states of the guest, because absorbing failed halfway. It is of no
/// use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("image in RAM is poisoned: an absorb failed halfway")]
pub struct Poisoned;

/// Why an image in RAM was not made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RamError {
    /// The kernel refused a step with the memfd.
    #[error("image in RAM: {what}")]
    Memfd {
        /// The step.
        what: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Memory or sections are more or other than a snapshot can hold.
    #[error("image in RAM: beyond the format")]
    Limit(#[from] FormatError),
    /// The snapshot it was to be made from could not be read, or its memory is damaged.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The guest memory could not be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The image could not be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The image is not whole.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// Why guest memory was not absorbed. [`RamImage::is_poisoned`](crate::RamImage::is_poisoned) says whether the
/// image still is what it was before; it is unless copying had begun.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AbsorbError {
    /// The memory is not laid out like the image.
    #[error("absorb guest memory: its region {index} is not that of the image")]
    Regions {
        /// Index of the first region that differs, in order of GPA.
        index: usize,
    },
    /// The memory is not, all of it, a private mapping of this image: what the guest wrote cannot be told.
    #[error("absorb guest memory: at GPA {gpa:#x} there is no private mapping of the image")]
    NotMapped {
        /// First guest address that is mapped otherwise.
        gpa: u64,
    },
    /// More sections than a snapshot can hold.
    #[error("absorb guest memory: beyond the format")]
    Limit(#[from] FormatError),
    /// The memory could not be examined or read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The image could not be examined.
    #[error("absorb guest memory: examine the image")]
    Examine(#[source] io::Error),
    /// The image could not be changed.
    #[error("absorb guest memory: change the image at GPA {gpa:#x}, {len_bytes:#x} bytes")]
    Write {
        /// First guest address of the run being written.
        gpa: u64,
        /// Bytes in the run.
        len_bytes: u64,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The image is not whole.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}
