//! `cargo xtask test`: install what is missing, run every check, say what happened.

mod arrows;
mod checks;
mod excerpt;
mod kvm;
mod run;
mod shape;
mod step;
mod summary;
mod tally;
mod tools;

pub(crate) use run::Test;
