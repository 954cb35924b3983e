//! Benchmarks of the whole chain, each beside its floor (see README.md).
//!
//! [`floor`] restores a saved guest with nothing but system calls, [`library`] restores the same guest from the same memory
//! with `vmm-core`, and [`rounds`] takes turns between them, so that both meet the same neighbours on the machine.

pub mod floor;
pub mod library;
mod pieces;
mod report;
pub mod rounds;
mod subject;

pub use pieces::Pieces;
pub use report::Report;
pub use subject::{Subject, lack, mappable};
