//! Scale decisions as a pure, deterministic state machine.
