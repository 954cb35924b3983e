//! Format v1 as pure functions between bytes and values; `docs/snapshot-format.md` is its page.
//!
//! Decoding trusts nothing: counts are bounded before anything is allocated, and what one field says is held
//! against the others. There is one encoding for each content, so anything else is refused.

mod architecture;
mod error;
mod header;
mod limits;
mod page_map;
mod table;
#[cfg(test)]
pub(crate) mod testing;

pub use architecture::Architecture;
pub use error::{FormatError, Part};
pub use header::Header;
pub(crate) use header::{Extent, place_regions};
pub(crate) use limits::HEADER_LEN;
pub use limits::{
    FORMAT_VERSION, GROUP_BYTES, HEADER_BYTES, MAX_FINGERPRINT_BYTES, MAX_MEMORY_BYTES, MAX_REGIONS,
    MAX_RUNS, MAX_SECTION_BYTES, MAX_SECTIONS,
};
pub(crate) use page_map::{DataRun, RUN_BYTES, decode_page_map, encode_page_map};
pub(crate) use table::{ENTRY_BYTES, decode_table, encode_table};
