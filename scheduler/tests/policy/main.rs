//! What the policies promise, whatever comes: bounds of cost, saved state, periodic callers.

mod bounds;
mod caller;
mod learning;
mod periodic;
mod saved;
