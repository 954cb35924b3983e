//! What all services share: never more of it than there is, and everybody gets some.

mod brown_out;
mod chaos;
mod cluster;
mod fairness;
mod herd;
mod memory;
mod nodes;
mod places;
mod restarts;
