//! The pure core: who waits for which target, and what is to be done about it.

mod action;
mod queue;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use action::{Action, Actions, Admitted, Edge, Entrant, Entry};
pub use action::{Epoch, TargetState};
pub(crate) use queue::WaiterId;
pub(crate) use state::Gate;
