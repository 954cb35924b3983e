//! The pure core: who waits for which target, and what is to be done about it.

mod queue;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use queue::WaiterId;
pub(crate) use state::{Action, Admitted, Edge, Entrant, Entry, Gate};
pub use state::{Epoch, TargetState};
