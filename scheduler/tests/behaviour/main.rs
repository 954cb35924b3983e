//! What the scheduler does, seen from outside: events in, actions out.

mod chaos;
mod connections;
mod desk;
mod explaining;
mod failures;
mod inventory;
mod ladder;
mod owner;
mod replay;
mod scale_out;
mod scale_to_zero;
mod services;
