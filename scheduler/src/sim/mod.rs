//! The simulator: traces, arrival models, the policies others use, and what they cost. Feature `sim`.

mod anchor;
mod bar;
mod histogram;
mod live;
mod outcome;
mod pool;
mod random;
mod report;
mod study;
mod trace;

pub use anchor::Anchor;
pub use bar::{Verdict, check, lowest_known};
pub use histogram::Histogram;
pub use live::{Chaos, Faults, LiveConfig, LiveCounts, run_live};
pub use outcome::Outcome;
pub use pool::{
    Controller, Fixed, Hybrid, Kpa, Load, OnDemand, PolicyController, Scale, Staffing, clairvoyant_keep,
    clairvoyant_start, greedy_dual, run_pool,
};
pub use random::Random;
pub use report::{Cells, Chart, Json, Table};
pub use study::{Contender, Row, Study, UnknownContender};
pub use trace::{Arrivals, Recording, ServiceTrace, Trace, TraceError, TracedRequest, UnknownArrivals};
